"""VGG's fully connected layers as a 3x3 convolution of large dilation and a 1x1 convolution (DeepLab-LargeFOV).

Chen et al., ICLR 2015, https://arxiv.org/abs/1412.7062, section 3.
"""

from torch import nn

from segkit.models.layers import ConvBNReLU


def large_fov(in_channels: int, channels: int, *, rate: int, dropout: float) -> nn.Sequential:
    """Builds fc6 (3x3, dilated) and fc7 (1x1), each with a bias, a ReLU and elementwise dropout.

    Args:
        in_channels: channels of the input.
        channels: width of fc6 and fc7.
        rate: dilation of fc6.
        dropout: probability of dropping an element after fc6 and after fc7.

    Returns:
        The layers in sequence, float [B,in_channels,h,w] to float [B,channels,h,w].
    """
    return nn.Sequential(
        ConvBNReLU(in_channels, channels, 3, dilation=rate, norm=False),
        nn.Dropout(dropout),
        ConvBNReLU(channels, channels, 1, norm=False),
        nn.Dropout(dropout),
    )
