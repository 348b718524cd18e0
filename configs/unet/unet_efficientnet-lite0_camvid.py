"""CamVid on two CPU cores in half an hour: an ImageNet encoder of 3.4M parameters, half-size logits."""

from segkit.config import ref

_base_ = ["../_base_/models/unet_efficientnet-lite0.py", "../_base_/datasets/camvid.py"]
crop_size = (352, 480)
model = dict(
    backbone=dict(frozen_stages=2),  # the edges ImageNet taught are kept; a third of the step is saved
    head=dict(channels=(128, 64, 48, 32), dropout=0.1),
)
losses = [
    dict(type="CrossEntropy", on="logits", target="mask"),
    dict(type="Jaccard", on="logits", target="mask"),  # weighs every class alike, however few pixels it has
]
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
loop = dict(steps=960, amp="auto", channels_last=True, ema=0.99, log_every=25, eval_every=320, save_every=120)
