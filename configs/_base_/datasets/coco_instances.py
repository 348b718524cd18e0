"""COCO instances learnt from boxes: 118,287 train, 5,000 val images, 80 classes; BoxLevelSet's pipeline.

To learn from the annotated masks: train.dataset.boxes_only=False.
"""

from segkit.config import ref

num_classes = 80
mean_color = (123.675, 116.28, 103.53)
train = dict(
    batch_size=2,
    dataset=dict(type="COCOInstances", root=None, split="train2017", filtered=True),
    sampler=dict(type="AspectGrouped", batch=ref("train.batch_size")),
    transforms=[
        dict(type="BoxMasks"),
        dict(type="RandomShortSide", sides=(640, 672, 704, 736, 768, 800), long=1333),
        dict(type="Flip"),
        dict(type="Pad", divisor=32, fill=ref("mean_color")),
    ],
)
val = dict(
    dataset=dict(type="COCOInstances", root=None, split="val2017"),
    transforms=[
        dict(type="Resize", size=(800, 1333), keep_ratio=True),
        dict(type="Pad", divisor=32, fill=ref("mean_color")),
    ],
)
test = dict(
    dataset=dict(type="COCOInstances", root=None, split="val2017"),
    transforms=[
        dict(type="Resize", size=(800, 1333), keep_ratio=True),
        dict(type="Pad", divisor=32, fill=ref("mean_color")),
    ],
)
# as published: AP of 100 detections per class and image, AP50, AP75 and those by area of 1000
metrics = [dict(type="CocoAP", max_detections=(100, 300, 1000))]
