"""SimpleClick on xTiny: random weights at the start, as published."""

from segkit.config import ref

model = dict(
    type="ClickSegmentor",
    num_classes=ref("num_classes"),
    align_corners=True,
    scheme="Patch",
    backbone=dict(
        type="PlainViT",
        width=160,
        depth=8,
        heads=4,
        patch_size=16,
        img_size=(448, 448),
        global_every=2,
    ),
    neck=dict(type="ClickPyramid", channels=(96, 192, 288, 384)),
    head=dict(type="SimpleClickHead", channels=128),
)
losses = [dict(type="NormalizedFocal", on="logits", target="mask", alpha=0.5, gamma=2.0)]
optimizer = dict(type="Adam", lr=5e-5)
