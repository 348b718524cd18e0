"""DeepLabv3+ as in the paper, on Xception-65, VOC 2012: 30,000 steps of 16 crops of 513x513, rate 0.007."""

_base_ = ["../_base_/models/deeplabv3plus_xception65.py", "../_base_/datasets/voc.py", "../_base_/schedules/sgd_20k.py"]
crop_size = (513, 513)
optimizer = dict(lr=0.007, weight_decay=4e-5)
loop = dict(steps=30000)
