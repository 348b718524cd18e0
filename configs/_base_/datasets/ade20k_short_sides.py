"""ADE20K as Mask2Former reads it: the short side is one of 16 between half and twice the crop's."""

from segkit.config import ref

_base_ = ["ade20k.py"]
train = dict(
    transforms=[
        dict(type="RandomShortSide", sides=tuple(int(51.2 * i) for i in range(5, 21)), long=2048),
        dict(type="Photometric"),
        dict(type="Flip"),
        # last: what is padded keeps the value 128, at the right and bottom
        dict(type="RandomCrop", size=ref("crop_size"), fill=128),
    ],
)
