"""DeepLabv2 on ResNet-101 at three scales, VOC 2012; published: validation mIoU 76.35 without the dense CRF."""

_base_ = ["../_base_/models/deeplab_v2_r101_msc.py", "../_base_/datasets/voc.py", "../_base_/schedules/sgd_20k.py"]
crop_size = (321, 321)
train = dict(batch_size=10)
optimizer = dict(lr=2.5e-4, groups=[dict(match=r"^head", lr=10.0), dict(match=r"^head.*\.bias$", lr=2.0)])
schedule = dict(min_lr=0.0)
