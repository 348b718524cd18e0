"""Objects learned from boxes alone on a CPU: Box2Mask-T with 3 + 3 layers of 128 channels on EfficientNet-Lite0."""

_base_ = ["../_base_/datasets/labelled_instances.py", "../_base_/box_supervised/box2mask_lite0.py"]
train = dict(
    dataset=dict(boxes_only=True),
    transforms=[
        dict(type="BoxMasks"),
        dict(type="RandomShortSide", sides=(256, 288, 320, 352, 384), long=640),
        dict(type="Flip"),
        dict(type="Pad", divisor=32),
    ],
)
val = dict(dataset=dict(boxes_only=True))
metrics = [dict(type="CocoAP", iou_type="bbox")]  # the boxes around the masks, since the labels have no masks
loop = dict(steps=1200, monitor="bbox.AP")
