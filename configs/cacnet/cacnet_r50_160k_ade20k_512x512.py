"""CaC-Net on ResNet-50, ADE20K, mmsegmentation's schedule."""

_base_ = ["../_base_/models/cacnet_r50.py", "../_base_/datasets/ade20k.py", "../_base_/schedules/sgd_160k.py"]
