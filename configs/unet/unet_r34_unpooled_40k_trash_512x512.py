"""U-Net on ResNet-34 with a dilated convolution instead of max pooling, photographs of waste."""

_base_ = ["../_base_/models/unet_r34_unpooled.py", "../_base_/datasets/trash.py", "../_base_/schedules/sgd_40k.py"]
