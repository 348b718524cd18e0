"""COCO+LVIS as the larger networks of FocalClick train on it: as the smaller ones, with other colors."""

from segkit.config import ref

_base_ = "clicks_focal_cocolvis.py"
object_transforms = [
    dict(type="StretchedCrop", size=ref("crop_size"), law="normal"),
    dict(type="Flip", p=0.3, direction="vertical"),
    dict(type="Flip", p=0.3),
    dict(type="BrightnessContrast", brightness=(-0.25, 0.25), contrast=(-0.15, 0.40), p=0.75),
    dict(type="ChannelShift", limit=10, p=0.75),
]
