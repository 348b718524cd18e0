"""CaC-Net on ResNet-101, ADE20K; published mIoU 46.12 at several scales, on a schedule of its own."""

_base_ = ["../_base_/models/cacnet_r50.py", "../_base_/datasets/ade20k.py", "../_base_/schedules/sgd_160k.py"]
model = dict(backbone=dict(name="resnet101c"))
