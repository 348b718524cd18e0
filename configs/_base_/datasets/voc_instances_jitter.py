"""Objects of Pascal VOC 2012 and SBD learnt from boxes, 20 classes, with Box2Mask's large-scale jitter as on COCO."""

_base_ = "coco_instances_jitter.py"
num_classes = 20
train = dict(dataset=dict(type="VOCInstances", split="train", filtered=True))
val = dict(dataset=dict(type="VOCInstances", split="val"))
test = dict(dataset=dict(type="VOCInstances", split="val"))
metrics = [dict(type="CocoAP", max_detections=(100, 300, 1000)), dict(type="VocAP")]
