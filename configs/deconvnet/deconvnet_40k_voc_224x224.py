"""DeconvNet, VOC 2012, crops of 224 x 224; published: test mIoU 69.6 with object proposals, which are left out."""

_base_ = ["../_base_/models/deconvnet.py", "../_base_/datasets/voc.py", "../_base_/schedules/sgd_40k.py"]
crop_size = (224, 224)
train = dict(batch_size=64)
