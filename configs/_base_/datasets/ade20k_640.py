"""ADE20K at a short side of 640, with crops of 640 x 640."""

from segkit.config import ref

_base_ = "ade20k.py"
crop_size = (640, 640)
train = dict(
    transforms=[
        dict(type="RandomResize", scale=(640, 2560), ratio_range=(0.5, 2.0)),
        dict(type="RandomCrop", size=ref("crop_size"), cat_max_ratio=0.75),
        dict(type="Flip"),
        dict(type="Photometric"),
    ]
)
val = dict(transforms=[dict(type="Resize", size=(640, 2560), keep_ratio=True)])
test = dict(transforms=[dict(type="Resize", size=(640, 2560), keep_ratio=True)])
