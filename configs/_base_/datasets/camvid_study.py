"""CamVid and how the systems of the study are trained on it: the recipe of unet_efficientnet-lite0_camvid."""

from segkit.config import ref

_base_ = ["camvid.py"]
crop_size = (352, 480)
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
