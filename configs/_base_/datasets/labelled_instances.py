"""One's own images with labels in any known format, as objects with masks: data/train and data/val.

`segkit new` writes configs over the recipes that stand on this base, with the data set's own place and splits.
"""

from segkit.config import ref

root, num_classes = "data", 1
train = dict(
    batch_size=4,
    dataset=dict(type="LabelledInstances", root=ref("root"), split="train", filtered=True, boxes_only=False),
    transforms=[
        dict(type="RandomShortSide", sides=(256, 288, 320, 352, 384), long=640),
        dict(type="Flip"),
        dict(type="Pad", divisor=32),
    ],
)
val = dict(
    dataset=dict(type="LabelledInstances", root=ref("root"), split="val", boxes_only=False),
    transforms=[dict(type="Resize", short=320, long=640), dict(type="Pad", divisor=32)],
)
metrics = [dict(type="CocoAP"), dict(type="MatchedMaskIoU")]
