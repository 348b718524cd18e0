"""Cityscapes as Mask2Former reads it: the short side is one of 16 between half and twice the image's."""

from segkit.config import ref

_base_ = ["cityscapes.py"]
train = dict(
    batch_size=4,
    transforms=[
        dict(type="RandomShortSide", sides=tuple(int(102.4 * i) for i in range(5, 21)), long=4096),
        dict(type="RandomCrop", size=ref("crop_size"), fill=128),
        dict(type="Photometric"),
        dict(type="Flip"),
    ],
)
