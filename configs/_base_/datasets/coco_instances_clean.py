"""COCO instances learnt from boxes by BoxTeacher: the clean image for the teacher, a jittered one for the student."""

from segkit.config import ref

_base_ = "coco_instances.py"
train = dict(
    transforms=[
        dict(type="RandomShortSide", sides=(640, 672, 704, 736, 768, 800), long=1333),
        dict(type="Flip"),
        dict(type="KeepClean"),
        dict(type="ColorJitter"),
        dict(type="Grayscale", p=0.2),
        dict(type="Pad", divisor=32, fill=ref("mean_color")),
    ],
)
metrics = [dict(type="CocoAP")]
