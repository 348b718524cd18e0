"""SimpleClick on ViT-B: its encoder from a masked autoencoder."""

from segkit.config import ref

model = dict(
    type="ClickSegmentor",
    num_classes=ref("num_classes"),
    align_corners=True,
    scheme="Patch",
    backbone=dict(
        type="PlainViT",
        width=768,
        depth=12,
        heads=12,
        patch_size=16,
        img_size=(448, 448),
        global_every=6,
        pretrained=True,
    ),
    neck=dict(type="ClickPyramid", channels=(128, 256, 512, 1024)),
    head=dict(type="SimpleClickHead", channels=256),
)
losses = [dict(type="NormalizedFocal", on="logits", target="mask", alpha=0.5, gamma=2.0)]
optimizer = dict(type="Adam", lr=5e-5)
