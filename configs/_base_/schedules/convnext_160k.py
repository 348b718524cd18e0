"""The schedule of ConvNeXt in mmsegmentation: rates that fall by stages towards the image, no decay of vectors."""

_base_ = "adamw_160k.py"
optimizer = dict(
    lr=1e-4,
    weight_decay=0.05,
    layer_decay=dict(rate=0.9, law="stage_wise"),
    groups=[dict(kind="vector", decay=0.0)],
)
