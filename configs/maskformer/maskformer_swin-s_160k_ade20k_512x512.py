"""MaskFormer on Swin-S, ADE20K, mmsegmentation's network, the authors' rates; published mIoU 49.36."""

_base_ = ["maskformer_swin-t_160k_ade20k_512x512.py"]
model = dict(backbone=dict(name="swin_small_patch4_window7_224.ms_in1k"))
