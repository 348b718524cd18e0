"""Objects learned from masks on a CPU: Mask2Former with 3 + 3 layers of 128 channels on EfficientNet-Lite0."""

_base_ = ["../_base_/datasets/labelled_instances.py", "../_base_/box_supervised/mask2former_masks.py"]
loop = dict(steps=600)
