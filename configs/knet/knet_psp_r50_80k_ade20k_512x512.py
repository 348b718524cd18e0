"""K-Net with PSPNet on a dilated ResNet-50, ADE20K, mmsegmentation's setting; published mIoU 44.18."""

_base_ = ["knet_upernet_r50_80k_ade20k_512x512.py"]
model = dict(backbone=dict(output_stride=8), head=dict(generator=dict(type="PSPHead")))
