"""SimpleClick on ViT-L: its encoder from a masked autoencoder."""

from segkit.config import ref

model = dict(
    type="ClickSegmentor",
    num_classes=ref("num_classes"),
    align_corners=True,
    scheme="Patch",
    backbone=dict(
        type="PlainViT",
        width=1024,
        depth=24,
        heads=16,
        patch_size=16,
        img_size=(448, 448),
        global_every=6,
        pretrained=True,
    ),
    neck=dict(type="ClickPyramid", channels=(192, 384, 768, 1536)),
    head=dict(type="SimpleClickHead", channels=256),
)
losses = [dict(type="NormalizedFocal", on="logits", target="mask", alpha=0.5, gamma=2.0)]
optimizer = dict(type="Adam", lr=5e-5)
