"""MiB's network from its published ImageNet weights, and the first step's loss, averaged over all pixels."""

_base_ = "../models/mib_r101_os16.py"
model = dict(backbone=dict(pretrained="pretrained/resnet101_iabn_sync.pth.tar"))
losses = [dict(type="CrossEntropy", on="logits", target="mask", average="all")]
