"""SegFix on HRNet2x-W20, whose finest maps have stride 2, in the published form."""

from segkit.config import ref

model = dict(
    num_classes=ref("num_classes"),
    backbone=dict(type="HRNet2x", width=20, order="BGR"),
    head=dict(type="SegFixHead"),
    align_corners=True,
)
losses = [dict(type="SegFixLoss")]
