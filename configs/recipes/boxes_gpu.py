"""Objects learned from boxes alone on a GPU: Box2Mask-T on Swin-T."""

_base_ = ["instances_gpu.py"]
model = dict(head=dict(level_features=1))
losses = [dict(type="Box2Mask", projection_steps=300)]
runner = dict(padding=128)
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
loop = dict(monitor="bbox.AP")
