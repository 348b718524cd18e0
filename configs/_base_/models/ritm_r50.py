"""RITM on DeepLabv3+ with a ResNet-50 of deep stem, from f-BRS."""

_base_ = "ritm_r34.py"
model = dict(backbone=dict(name="resnet50s.gluon_in1k"))
