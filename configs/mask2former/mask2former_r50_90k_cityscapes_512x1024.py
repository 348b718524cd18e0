"""Mask2Former on ResNet-50, Cityscapes, the authors' setting; published mIoU 79.4.

Set loop.sync_bn=False to train on a CPU.
"""

_base_ = [
    "../_base_/models/mask2former_r50.py",
    "../_base_/datasets/cityscapes_short_sides.py",
    "../_base_/schedules/mask2former_160k.py",
]
# on Cityscapes the normalizations of ResNets are trained, over all processes
model = dict(backbone=dict(norm_eval=False, train_norms=True))
loop = dict(steps=90000, sync_bn=True)
