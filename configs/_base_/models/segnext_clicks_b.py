"""SegNext (interactive) on ViT-B, "sax2": the image is encoded once, two blocks of attention answer each click."""

from segkit.config import ref

model = dict(
    type="LateClickSegmentor",
    num_classes=ref("num_classes"),
    align_corners=True,
    fusion="self",
    fusion_depth=2,
    fusion_heads=12,
    backbone=dict(
        type="PlainViT",
        width=768,
        depth=12,
        heads=12,
        patch_size=16,
        img_size=(1024, 1024),
        global_every=3,
        global_last=True,
        pretrained=True,
    ),
    neck=dict(type="ClickPyramid", channels=(128, 256, 512, 1024)),
    head=dict(type="SimpleClickHead", channels=256),
)
losses = [dict(type="NormalizedFocal", on="logits", target="mask", alpha=0.5, gamma=2.0)]
optimizer = dict(type="Adam", lr=5e-5)
