"""DeepLabv2 on VGG-16, VOC 2012, by the settings of the paper's section 4.1."""

_base_ = ["../_base_/models/deeplab_v2_vgg16.py", "../_base_/datasets/voc.py", "../_base_/schedules/sgd_20k.py"]
_scores = r"^head\.branches\.\d\.4"
crop_size = (321, 321)
train = dict(batch_size=10)
optimizer = dict(lr=1e-3, groups=[dict(match=_scores, lr=10.0), dict(match=_scores + r"\.bias$", lr=2.0)])
schedule = dict(min_lr=0.0)
