"""RefineNet on ResNet-101, VOC 2012; published: test mIoU 84.2 with ResNet-152.

The schedule is mmsegmentation's for this set, not the paper's.
"""

_base_ = ["../_base_/models/refinenet_r101.py", "../_base_/datasets/voc.py", "../_base_/schedules/sgd_40k.py"]
optimizer = dict(lr=5e-4)
