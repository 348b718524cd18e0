"""Hours on a GPU: UPerNet on ConvNeXt-Tiny (46.0 mIoU on ADE20K in its paper's setting)."""

_base_ = ["../_base_/models/upernet_r50.py", "../_base_/datasets/labelled.py", "../_base_/schedules/own_data_gpu.py"]
model = dict(
    backbone=dict(
        type="Timm",
        name="convnext_tiny.fb_in22k_ft_in1k",
        pretrained=True,
        norm_levels=(-4, -3, -2, -1),
        drop_path_rate=0.2,
    ),
    head=dict(channels=256),
    aux=[dict(type="FCNHead", level=-2)],
)
losses = [
    dict(type="CrossEntropy", on="logits", target="mask"),
    dict(type="Jaccard", on="logits", target="mask"),
    dict(type="CrossEntropy", on="aux0.logits", target="mask", weight=0.4),
]
optimizer = dict(layer_decay=dict(rate=0.9, law="stage_wise"))
