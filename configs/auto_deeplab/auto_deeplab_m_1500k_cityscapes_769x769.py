"""Auto-DeepLab-M on Cityscapes: -S with F = 32; published: val mIoU 80.04 at several scales and flipped."""

_base_ = ["auto_deeplab_s_1500k_cityscapes_769x769.py"]
model = dict(backbone=dict(filters=32))
