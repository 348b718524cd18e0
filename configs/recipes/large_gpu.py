"""A night and more on a GPU of 24 GB or more: UPerNet on ConvNeXt-Base, pretrained on ImageNet-22k."""

_base_ = ["base_gpu.py"]
crop_size = (640, 640)
model = dict(backbone=dict(name="convnext_base.fb_in22k_ft_in1k", drop_path_rate=0.4), head=dict(channels=512))
optimizer = dict(layer_decay=dict(layers=12))
