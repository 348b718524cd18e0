"""DeepLab-LargeFOV, VOC 2012, by the settings of the paper's section 5."""

_base_ = ["../_base_/models/deeplab_v1_vgg16.py", "../_base_/datasets/voc.py", "../_base_/schedules/largefov_6k.py"]
crop_size = (321, 321)
train = dict(batch_size=20)
optimizer = dict(groups=[dict(match=r"^head\.(classifier)", lr=10.0)])
