"""Penn-Fudan pedestrians learnt from boxes: 120 train, 50 test images by name, one class, short side about 320."""

from segkit.config import ref

num_classes = 1
mean_color = (123.675, 116.28, 103.53)
train = dict(
    batch_size=4,
    dataset=dict(type="PennFudanInstances", root=None, split="train", filtered=True),
    sampler=dict(type="AspectGrouped", batch=ref("train.batch_size")),
    transforms=[
        dict(type="BoxMasks"),
        dict(type="RandomShortSide", sides=(256, 288, 320, 352, 384), long=640),
        dict(type="Flip"),
        dict(type="Pad", divisor=32, fill=ref("mean_color")),
    ],
)
val = dict(
    dataset=dict(type="PennFudanInstances", root=None, split="test"),
    transforms=[dict(type="Resize", short=320, long=640), dict(type="Pad", divisor=32, fill=ref("mean_color"))],
)
test = dict(
    dataset=dict(type="PennFudanInstances", root=None, split="test"),
    transforms=[dict(type="Resize", short=320, long=640), dict(type="Pad", divisor=32, fill=ref("mean_color"))],
)
metrics = [dict(type="CocoAP"), dict(type="CocoAP", filled=True), dict(type="MatchedMaskIoU")]
