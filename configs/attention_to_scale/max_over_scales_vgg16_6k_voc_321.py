"""The paper's baseline of Attention to Scale: the largest score of three scales, VOC 2012."""

_base_ = "attention_to_scale_vgg16_6k_voc_321.py"
model = dict(merge="max")
optimizer = dict(groups=[dict(match=r"^head\.classifier", lr=10.0)])
