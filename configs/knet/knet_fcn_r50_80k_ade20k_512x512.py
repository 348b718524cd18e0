"""K-Net with FCN on a dilated ResNet-50, ADE20K, mmsegmentation's setting; published mIoU 43.60."""

_base_ = ["knet_upernet_r50_80k_ade20k_512x512.py"]
model = dict(
    backbone=dict(output_stride=8),
    head=dict(generator=dict(type="FCNHead", num_convs=2, channels=512, concat_input=True)),
)
