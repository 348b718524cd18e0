"""VGG's fully connected layers as a 3x3 convolution of a large dilation and a 1x1 one, Chen et al., ICLR 2015,
https://arxiv.org/abs/1412.7062, section 3 (DeepLab-LargeFOV)."""

from torch import nn

from segkit.models.layers import ConvBNReLU


def large_fov(in_channels: int, channels: int, *, rate: int, dropout: float) -> nn.Sequential:
    """fc6 (3x3, dilated by rate) and fc7 (1x1), each with a bias, a ReLU and dropout of elements:
    float [B,in_channels,h,w] -> float [B,channels,h,w]."""
    return nn.Sequential(
        ConvBNReLU(in_channels, channels, 3, dilation=rate, norm=False),
        nn.Dropout(dropout),
        ConvBNReLU(channels, channels, 1, norm=False),
        nn.Dropout(dropout),
    )
