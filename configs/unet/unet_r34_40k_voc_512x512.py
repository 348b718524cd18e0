"""U-Net on an ImageNet ResNet-34, in the form of segmentation_models.pytorch, 40k steps on VOC."""

_base_ = ["../_base_/models/unet_r34.py", "../_base_/datasets/voc.py", "../_base_/schedules/sgd_40k.py"]
