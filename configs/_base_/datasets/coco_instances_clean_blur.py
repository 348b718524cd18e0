"""The same with a student that sees blurred images too: longer schedules and larger networks."""

from segkit.config import ref

_base_ = "coco_instances_clean.py"
train = dict(
    transforms=[
        dict(type="RandomShortSide", sides=(640, 672, 704, 736, 768, 800), long=1333),
        dict(type="Flip"),
        dict(type="KeepClean"),
        dict(type="ColorJitter"),
        dict(type="Grayscale", p=0.2),
        dict(type="Blur", kernel=3),
        dict(type="Pad", divisor=32, fill=ref("mean_color")),
    ],
)
