"""BiSeNet V2 with an auxiliary head on every stage of its semantic branch."""

from segkit.config import ref

model = dict(
    num_classes=ref("num_classes"),
    backbone=dict(type="BiSeNetV2"),
    head=dict(type="FCNHead", channels=1024),
    aux=[
        dict(type="FCNHead", num_convs=2, level=level, channels=channels)
        for level, channels in ((-5, 16), (-4, 64), (-3, 256), (-2, 1024))
    ],
)
losses = [
    dict(type="CrossEntropy", on="logits", target="mask", average="all"),
    dict(type="CrossEntropy", on="aux*.logits", target="mask", average="all"),
]
