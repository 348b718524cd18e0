"""ParseNet on DeepLab-LargeFOV, early fusion, VOC 2012; published: test mIoU 69.8."""

_base_ = ["../_base_/models/parsenet_vgg16.py", "../_base_/datasets/voc.py", "../_base_/schedules/largefov_6k.py"]
crop_size = (321, 321)
train = dict(batch_size=8)
optimizer = dict(groups=[dict(match=r"^head\.classifier", lr=10.0)])
