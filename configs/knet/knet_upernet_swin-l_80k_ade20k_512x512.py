"""K-Net with UPerNet on Swin-L of ImageNet-21k, ADE20K, mmsegmentation's setting; published mIoU 52.05."""

_base_ = ["knet_upernet_swin-t_80k_ade20k_512x512.py"]
model = dict(backbone=dict(name="swin_large_patch4_window7_224.ms_in22k"))
