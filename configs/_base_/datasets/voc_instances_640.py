"""Objects of Pascal VOC 2012 and SBD learnt from boxes, 20 classes, all images at a short side of 640."""

from segkit.config import ref

_base_ = "voc_instances.py"
_pad = dict(type="Pad", divisor=32, fill=ref("mean_color"))
_eval = [dict(type="Resize", size=(640, 1333), keep_ratio=True), _pad]
train = dict(
    transforms=[
        dict(type="BoxMasks"),
        dict(type="RandomShortSide", sides=(640,), long=1333),
        dict(type="Flip"),
        _pad,
    ]
)
val = dict(transforms=_eval)
test = dict(transforms=_eval)
