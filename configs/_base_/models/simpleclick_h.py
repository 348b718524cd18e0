"""SimpleClick on ViT-H: its encoder from a masked autoencoder."""

from segkit.config import ref

model = dict(
    type="ClickSegmentor",
    num_classes=ref("num_classes"),
    align_corners=True,
    scheme="Patch",
    backbone=dict(
        type="PlainViT",
        width=1280,
        depth=32,
        heads=16,
        patch_size=14,
        img_size=(448, 448),
        global_every=8,
        pretrained=True,
    ),
    neck=dict(type="ClickPyramid", channels=(240, 480, 960, 1920)),
    head=dict(type="SimpleClickHead", channels=256),
)
losses = [dict(type="NormalizedFocal", on="logits", target="mask", alpha=0.5, gamma=2.0)]
optimizer = dict(type="Adam", lr=5e-5)
