"""SegFix on HRNet-W18, "small v2", from random weights, CamVid, small crops, for two CPU cores.

segkit prepare segfix --config configs/segfix/segfix_hr18_camvid.py makes the targets first.
"""

from segkit.config import ref

_base_ = ["../_base_/models/segfix_hr18.py"]
model = dict(backbone=dict(num_modules=(1, 3, 2), num_blocks=2, pretrained=None))
num_classes, crop_size, targets = 2, (160, 160), None
_target = dict(type="SegFixTargets", targets=ref("targets"))
train = dict(
    batch_size=4,
    dataset=dict(_target, dataset=dict(type="CamVid", root=None, split="train")),
    transforms=[
        dict(type="RandomCrop", size=ref("crop_size")),
        dict(type="Flip"),
        dict(type="Photometric", brightness=20.0, contrast=(0.8, 1.2), saturation=(0.8, 1.2), hue=5.0),
    ],
)
val = dict(dataset=dict(_target, dataset=dict(type="CamVid", root=None, split="val")))
test = dict(dataset=dict(_target, dataset=dict(type="CamVid", root=None, split="test")))
optimizer = dict(type="AdamW", lr=2e-3, weight_decay=1e-2)
schedule = dict(type="OneCycle", rise=0.1)
loop = dict(steps=500, amp="auto", channels_last=True, clip=5.0, log_every=25, eval_every=250, save_every=250)
