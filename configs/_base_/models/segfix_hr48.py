"""SegFix on HRNet-W48: boundaries and the directions away from them, in the published form."""

from segkit.config import ref

model = dict(
    num_classes=ref("num_classes"),
    backbone=dict(type="HRNet", width=48, fuse_upsample="bilinear_corners", order="BGR", pretrained=True),
    head=dict(type="SegFixHead"),
    align_corners=True,
)
losses = [dict(type="SegFixLoss")]
