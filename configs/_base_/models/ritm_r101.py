"""RITM on DeepLabv3+ with a ResNet-101 of deep stem, from f-BRS."""

_base_ = "ritm_r34.py"
model = dict(backbone=dict(name="resnet101s.gluon_in1k"), head=dict(channels=256))
