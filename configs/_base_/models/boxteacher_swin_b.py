"""BoxTeacher on Swin-B; its order of colors, ImageNet weights and drop path are not stated: those here are timm's."""

from segkit.config import ref

_base_ = ["boxteacher_r50.py"]
model = dict(
    num_classes=ref("num_classes"),
    backbone=dict(
        type="TimmSwin",
        name="swin_base_patch4_window7_224.ms_in22k",
        pretrained=True,
        first_norm=1,
        pad_divisor=32,  # as detectors
    ),
)
