"""FocalClick on the small HRNet of width 18 with OCR of width 48: RITM's network, the refiner and its losses.

S2 reads 256 x 256 pixels; S1 has model.reduction = 2 and, drawn before the reduction, disks of model.radius = 2.
"""

from segkit.config import ref

model = dict(
    type="FocalClick",
    num_classes=ref("num_classes"),
    align_corners=True,
    guidance_channels=64,
    xavier=True,
    as_published=True,
    backbone=dict(
        type="HRNet",
        width=18,
        num_modules=(1, 3, 2),
        num_blocks=2,
        fuse_upsample="bilinear_corners",
        pretrained="hrnet_w18_small_v2.ms_in1k",
    ),
    head=dict(type="ClickOCRHead", ocr_width=48),
)
losses = [
    dict(type="NormalizedFocal", on="logits", target="mask", alpha=0.5, gamma=2.0),
    dict(type="BinaryCrossEntropy", on="coarse.logits", target="mask", weight=0.4, ignore=-1, average="all"),
    dict(type="WeightedFocal", on="refined", share=0.5),
    dict(type="BinaryCrossEntropy", on="boundary", target="boundary", ignore=-1, average="all"),
]
# the published code means a tenth of the rate for the trunk, but its last call sets twice the rate for trunk and head
optimizer = dict(type="Adam", lr=5e-4, groups=[dict(match=r"^(backbone|head)\.", lr=2.0)])
inference = dict(
    clicks=dict(
        zoom=dict(min_crop=10, recompute_iou=1.0, threshold=0.49, encloses_start=False),
        flip=False,
        stale_roi=True,
        threshold=0.5,
    )
)
loop = dict(channels_last=True)  # the faster layout of convolutions
