"""K-Net with UPerNet on Swin-T, ADE20K, mmsegmentation's setting; published mIoU 45.84."""

_base_ = ["knet_upernet_r50_80k_ade20k_512x512.py"]
model = dict(backbone=dict(type="TimmSwin", name="swin_tiny_patch4_window7_224.ms_in1k", drop_path_rate=0.3))
optimizer = dict(lr=6e-5, groups=[dict(match=r"norm|relative_position_bias_table", decay=0)])
