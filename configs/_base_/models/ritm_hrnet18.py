"""RITM on HRNet of width 18 with OCR of width 64."""

from segkit.config import ref

model = dict(
    type="ClickSegmentor",
    num_classes=ref("num_classes"),
    align_corners=True,
    guidance_channels=64,
    xavier=True,
    backbone=dict(
        type="HRNet",
        width=18,
        fuse_upsample="bilinear_corners",
        pretrained="hrnet_w18.ms_in1k",
    ),
    head=dict(type="ClickOCRHead", ocr_width=64),
)
losses = [
    dict(type="NormalizedFocal", on="logits", target="mask", alpha=0.5, gamma=2.0),
    dict(type="BinaryCrossEntropy", on="coarse.logits", target="mask", weight=0.4, ignore=-1, average="all"),
]
# the published rates: a tenth for the encoder, and for both classifiers; Conv1E's convolution counts as the encoder's
optimizer = dict(
    type="Adam",
    lr=5e-4,
    groups=[dict(match=r"^(backbone|head\.coarse_\w+|head\.last_conv|head\.classifier|guide\.conv)\.", lr=0.1)],
)
loop = dict(channels_last=True)  # the faster layout of convolutions
