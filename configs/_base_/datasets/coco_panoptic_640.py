"""COCO panoptic as EoMT reads it: the long side 640 times .1 to 2, crops of 640 x 640, tests in that square."""

_base_ = "coco_panoptic.py"
runner = dict(padding=0, divisor=640)
train = dict(
    transforms=[
        dict(type="Flip"),
        dict(
            type="UntilBox",
            transforms=[
                dict(type="RandomResize", scale=(640, 640), ratio_range=(0.1, 2.0)),
                dict(type="RandomCrop", size=(640, 640)),
            ],
        ),
    ],
)
_eval = [dict(type="Resize", size=(640, 640), keep_ratio=True)]
val = dict(transforms=_eval)
test = dict(transforms=_eval)
