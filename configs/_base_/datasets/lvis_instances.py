"""LVIS v1 learnt from boxes: 100,170 train, 19,809 val images, 1,203 classes; else as COCO's."""

_base_ = "coco_instances.py"
num_classes = 1203
train = dict(dataset=dict(type="LVISInstances", split="train", filtered=True))
val = dict(dataset=dict(type="LVISInstances", split="val"))
test = dict(dataset=dict(type="LVISInstances", split="val"))
metrics = [dict(type="LvisAP")]
