"""Trash: photographs of waste, 11 classes, annotations in train.json and val.json."""

from segkit.config import ref

num_classes, crop_size = 11, (512, 512)
train = dict(
    batch_size=8,
    dataset=dict(type="Trash", root=None, split="train"),
    transforms=[
        dict(type="RandomScaleCrop", size=ref("crop_size"), low=0.5, high=2.0),
        dict(type="Flip"),
        dict(type="Photometric"),
    ],
)
val = dict(dataset=dict(type="Trash", root=None, split="val"))
test = dict(dataset=dict(type="Trash", root=None, split="val"))
