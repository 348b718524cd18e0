"""Box2Mask's large-scale jitter: the long side 1024 times .1 to 2, crops of 1024x1024, padding of grey 128."""

_base_ = "voc_instances.py"
_grey = (128, 128, 128)
train = dict(
    sampler=dict(type="Shuffle"),
    transforms=[
        dict(type="BoxMasks"),
        dict(type="Flip"),
        dict(
            type="UntilBox",
            transforms=[
                dict(type="RandomResize", scale=(1024, 1024), ratio_range=(0.1, 2.0)),
                dict(type="RandomCrop", size=(1024, 1024), fill=_grey),
                dict(type="BoxesOfMasks"),
            ],
        ),
    ],
)
_eval = [dict(type="Resize", size=(800, 1333), keep_ratio=True), dict(type="Pad", divisor=32, fill=_grey)]
val = dict(transforms=_eval)
test = dict(transforms=_eval)
