"""DenseASPP on DenseNet-161."""

_base_ = "denseaspp_densenet121.py"
model = dict(backbone=dict(name="densenet161"), head=dict(hidden=512, channels=128))
