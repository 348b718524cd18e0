"""ContextNet cn14: the deep branch sees a quarter of the image."""

from segkit.config import ref

model = dict(
    num_classes=ref("num_classes"),
    backbone=dict(type="ContextNet"),
    head=dict(type="SeparableFCNHead", depthwise_act=True),
)
losses = [dict(type="CrossEntropy", on="logits", target="mask")]
