"""SegFix on HRNet-W18."""

from segkit.config import ref

model = dict(
    num_classes=ref("num_classes"),
    backbone=dict(type="HRNet", width=18, fuse_upsample="bilinear_corners", pretrained=True),
    head=dict(type="SegFixHead"),
    align_corners=True,
)
losses = [dict(type="SegFixLoss")]
