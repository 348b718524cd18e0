"""Auto-DeepLab-L on Cityscapes: -S with F = 48; published: val mIoU 80.33 at several scales and flipped."""

_base_ = ["auto_deeplab_s_1500k_cityscapes_769x769.py"]
model = dict(backbone=dict(filters=48))
