"""Attention to Scale on DeepLab-LargeFOV, VOC 2012, by the settings of the paper's section 4."""

_base_ = [
    "../_base_/models/attention_to_scale_vgg16.py",
    "../_base_/datasets/voc.py",
    "../_base_/schedules/largefov_6k.py",
]
crop_size = (321, 321)
train = dict(batch_size=30)
optimizer = dict(groups=[dict(match=r"^(head\.classifier|attention)", lr=10.0)])
