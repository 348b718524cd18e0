"""ParseNet on DeepLab-LargeFOV, late fusion, VOC 2012."""

_base_ = ["../_base_/models/parsenet_vgg16_late.py", "../_base_/datasets/voc.py", "../_base_/schedules/largefov_6k.py"]
crop_size = (321, 321)
train = dict(batch_size=8)
optimizer = dict(groups=[dict(match=r"^head\.late", lr=10.0)])
