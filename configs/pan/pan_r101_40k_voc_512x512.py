"""PAN on ResNet-101, VOC 2012; published: test mIoU 84.0 after COCO.

The schedule is mmsegmentation's for this set, not the paper's.
"""

_base_ = ["../_base_/models/pan_r50.py", "../_base_/datasets/voc.py", "../_base_/schedules/sgd_40k.py"]
model = dict(backbone=dict(name="resnet101"))
