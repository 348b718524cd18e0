"""SFNet on a ResNet-50 with a deep stem of 64, 64, 128 channels and dilated last stages."""

from segkit.config import ref

model = dict(
    num_classes=ref("num_classes"),
    backbone=dict(type="TimmDilated", name="resnet50s", contract_dilation=False, pretrained=True),
    head=dict(type="SFHead"),
    align_corners=True,
)
losses = [dict(type="CrossEntropy", on="logits", target="mask")]
