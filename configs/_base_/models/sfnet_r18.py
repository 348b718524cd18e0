"""SFNet on a ResNet-18 with a deep stem of 64, 64, 128 channels and dilated last stages."""

from segkit.config import ref

model = dict(
    num_classes=ref("num_classes"),
    backbone=dict(type="TimmDilated", name="resnet18", deep_stem=64, only="conv2", contract_dilation=False),
    head=dict(type="SFHead", channels=128),
    align_corners=True,
)
losses = [dict(type="CrossEntropy", on="logits", target="mask")]
