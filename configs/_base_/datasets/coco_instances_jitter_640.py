"""COCO instances as EoMT reads them: the long side 640 times .1 to 2, crops of 640 x 640, tests in that square."""

_base_ = "coco_instances_jitter.py"
num_classes = 80
runner = dict(type="Instances", padding=0, divisor=640)
train = dict(
    batch_size=16,
    dataset=dict(type="COCOInstances", root=None, split="train2017", filtered=True, boxes_only=False),
    transforms=[
        dict(type="Flip"),
        dict(
            type="UntilBox",
            transforms=[
                dict(type="RandomResize", scale=(640, 640), ratio_range=(0.1, 2.0)),
                dict(type="RandomCrop", size=(640, 640)),
                dict(type="BoxesOfMasks"),
            ],
        ),
    ],
)
_eval = [dict(type="Resize", size=(640, 640), keep_ratio=True)]
val = dict(transforms=_eval)
test = dict(transforms=_eval)
metrics = [dict(type="CocoAP")]
