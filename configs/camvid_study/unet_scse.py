"""U-Net with gates on channels and positions; logits at half of the image's size."""

_base_ = ["../_base_/models/unet_efficientnet-lite0.py", "../_base_/datasets/camvid_study.py"]
model = dict(
    backbone=dict(frozen_stages=2),
    head=dict(channels=(128, 64, 48, 32), attention="scse", dropout=0.1),
)
losses = [
    dict(type="CrossEntropy", on="logits", target="mask"),
    dict(type="Jaccard", on="logits", target="mask"),
]
