"""iSAID in patches learnt from boxes, 15 classes; else as COCO's."""

_base_ = "coco_instances.py"
num_classes = 15
train = dict(dataset=dict(type="ISAIDInstances", split="train", filtered=True))
val = dict(dataset=dict(type="ISAIDInstances", split="val"))
test = dict(dataset=dict(type="ISAIDInstances", split="val"))
