"""ExFuse on ResNet-101, VOC 2012; published: test mIoU 86.2 after COCO.

The schedule is mmsegmentation's for this set, not the paper's.
"""

_base_ = ["../_base_/models/exfuse_r101.py", "../_base_/datasets/voc.py", "../_base_/schedules/sgd_40k.py"]
optimizer = dict(lr=1e-3)
