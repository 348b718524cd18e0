"""RITM on DeepLabv3+ with a ResNet-34."""

from segkit.config import ref

model = dict(
    type="ClickSegmentor",
    num_classes=ref("num_classes"),
    align_corners=True,
    guidance_channels=64,
    xavier=True,
    previous_mask=False,  # as published; True for mask guidance
    backbone=dict(type="Timm", name="resnet34.gluon_in1k", output_stride=8, pretrained=True),
    head=dict(type="ClickDeepLabHead", channels=128, dropout=0.2),
)
losses = [dict(type="NormalizedFocal", on="logits", target="mask", alpha=0.5, gamma=2.0)]
# the published rates: a tenth for the encoder; Conv1E's convolution counts as the encoder's
optimizer = dict(
    type="Adam",
    lr=5e-4,
    groups=[dict(match=r"^(backbone|guide\.conv)\.", lr=0.1)],
)
loop = dict(channels_last=True)  # the faster layout of convolutions
