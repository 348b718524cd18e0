"""DeepLab v1's 1x1 classifier on a dilated ResNet-101, VOC 2012, by the settings of DeepLabv2."""

_base_ = ["../_base_/models/deeplab_v1_r101.py", "../_base_/datasets/voc.py", "../_base_/schedules/sgd_20k.py"]
crop_size = (321, 321)
train = dict(batch_size=10)
optimizer = dict(lr=2.5e-4, groups=[dict(match=r"^head", lr=10.0), dict(match=r"^head.*\.bias$", lr=2.0)])
schedule = dict(min_lr=0.0)
