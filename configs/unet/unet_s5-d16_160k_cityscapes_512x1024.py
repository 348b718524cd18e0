"""mmsegmentation's U-Net S5-D16, 160k steps on Cityscapes, four images on each of four GPUs; published mIoU 69.10."""

_base_ = ["../_base_/models/unet_s5-d16.py", "../_base_/datasets/cityscapes.py", "../_base_/schedules/sgd_160k.py"]
train = dict(batch_size=4)
