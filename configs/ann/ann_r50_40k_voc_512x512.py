"""ANN on ResNet-50, VOC 2012, mmsegmentation's setting; published mIoU 76.56."""

_base_ = ["../_base_/models/ann_r50.py", "../_base_/datasets/voc.py", "../_base_/schedules/sgd_40k.py"]
