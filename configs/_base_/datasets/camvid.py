"""CamVid: 367 train, 101 val, 233 test images of 480x360, 11 classes."""

from segkit.config import ref

num_classes, crop_size = 11, (360, 480)
train = dict(
    batch_size=8,
    dataset=dict(type="CamVid", root=None, split="train"),
    transforms=[
        dict(type="RandomScaleCrop", size=ref("crop_size"), low=0.5, high=2.0, cat_max_ratio=0.75),
        dict(type="Flip"),
        dict(type="Photometric"),
    ],
)
val = dict(dataset=dict(type="CamVid", root=None, split="val"))
test = dict(dataset=dict(type="CamVid", root=None, split="test"))
