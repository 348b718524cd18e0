"""iSAID in patches learnt from boxes, 15 classes, at one size; else as COCO's."""

from segkit.config import ref

_base_ = "coco_instances.py"
num_classes = 15
train = dict(
    dataset=dict(type="ISAIDInstances", split="train", filtered=True),
    transforms=[
        dict(type="BoxMasks"),
        dict(type="RandomShortSide", sides=(800,), long=1333),
        dict(type="Flip"),
        dict(type="Pad", divisor=32, fill=ref("mean_color")),
    ],
)
val = dict(dataset=dict(type="ISAIDInstances", split="val"))
test = dict(dataset=dict(type="ISAIDInstances", split="val"))
