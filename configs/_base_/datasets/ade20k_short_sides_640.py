"""The same at 640 pixels, for the large encoders."""

from segkit.config import ref

_base_ = ["ade20k_short_sides.py"]
crop_size = (640, 640)
train = dict(
    transforms=[
        dict(type="RandomShortSide", sides=tuple(64 * i for i in range(5, 21)), long=2560),
        dict(type="Photometric"),
        dict(type="Flip"),
        # last: what is padded keeps the value 128, at the right and bottom
        dict(type="RandomCrop", size=ref("crop_size"), fill=128),
    ],
)
val = dict(transforms=[dict(type="Resize", size=(640, 2560), keep_ratio=True)])
test = dict(transforms=[dict(type="Resize", size=(640, 2560), keep_ratio=True)])
