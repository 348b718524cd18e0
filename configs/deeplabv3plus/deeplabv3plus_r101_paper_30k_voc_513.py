"""DeepLabv3+ in the paper's form on ResNet-101, VOC 2012: 30,000 steps of 16 crops of 513x513, rate 0.007."""

_base_ = ["../_base_/models/deeplabv3plus_r50_paper.py", "../_base_/datasets/voc.py", "../_base_/schedules/sgd_20k.py"]
crop_size = (513, 513)
model = dict(backbone=dict(name="resnet101c"))
optimizer = dict(lr=0.007, weight_decay=1e-4)
loop = dict(steps=30000)
