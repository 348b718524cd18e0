"""Boundaries of Cityscapes and the directions away from them, for SegFix: crops without a change of scale."""

from segkit.config import ref

num_classes, crop_size, targets = 2, (512, 512), None
_target = dict(type="SegFixTargets", targets=ref("targets"))
train = dict(
    batch_size=4,
    dataset=dict(_target, dataset=dict(type="Cityscapes", root=None, split="train")),
    transforms=[
        dict(type="RandomCrop", size=ref("crop_size")),
        dict(type="Flip"),
        dict(type="Photometric", brightness=10.0, contrast=(1.0, 1.0), saturation=(1.0, 1.0), hue=0.0, p=1.0),
    ],
)
val = dict(dataset=dict(_target, dataset=dict(type="Cityscapes", root=None, split="val")))
test = dict(dataset=dict(_target, dataset=dict(type="Cityscapes", root=None, split="val")))
