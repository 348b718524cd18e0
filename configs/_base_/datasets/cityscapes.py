"""Cityscapes: 2,975 train, 500 val images of 2048x1024, 19 classes; two images for each of four processes."""

from segkit.config import ref

num_classes, crop_size = 19, (512, 1024)
train = dict(
    batch_size=2,
    dataset=dict(type="Cityscapes", root=None, split="train"),
    transforms=[
        dict(type="RandomScaleCrop", size=ref("crop_size"), low=0.5, high=2.0, cat_max_ratio=0.75),
        dict(type="Flip"),
        dict(type="Photometric"),
    ],
)
val = dict(dataset=dict(type="Cityscapes", root=None, split="val"))
test = dict(dataset=dict(type="Cityscapes", root=None, split="val"))
