"""Objects of Pascal VOC 2012 and SBD learnt from boxes: 10,582 train, 1,449 val images, 20 classes, after
segkit prepare voc_instances; else as COCO's."""

_base_ = "coco_instances.py"
num_classes = 20
train = dict(dataset=dict(type="VOCInstances", split="train", filtered=True))
val = dict(dataset=dict(type="VOCInstances", split="val"))
test = dict(dataset=dict(type="VOCInstances", split="val"))
metrics = [dict(type="CocoAP", max_detections=(100, 300, 1000)), dict(type="VocAP")]
