"""SETR with naive upsampling on ViT-L/16."""

_base_ = "setr_pup_vit-l.py"
model = dict(
    head=dict(num_convs=1, kernel=1, scale=4),
    aux=[dict(type="SETRHead", level=level, num_convs=2, kernel=1, scale=4) for level in (-4, -3, -2)],
)
