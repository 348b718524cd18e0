"""EoMT on DINOv2-L with registers, at 512 x 512 pixels."""

from segkit.config import ref

model = dict(
    type="QuerySegmentor",
    num_classes=ref("num_classes"),
    backbone=dict(type="QueryViT", name="vit_large_patch14_reg4_dinov2", pretrained=True, img_size=(512, 512)),
    head=dict(type="EoMTHead"),
)
losses = [dict(type="Mask2FormerSemantic")]
