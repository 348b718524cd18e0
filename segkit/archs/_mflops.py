"""1e6 operations of layers as Dynamic Routing's authors count them, for one image.

A multiplication with its addition is one operation, a batch normalization two per value, a ReLU one. Resizes and sums
of maps are not counted. Sizes are (height, width) of the input; a stride divides them, rounded down.
"""

from typing import TypeAlias

Size: TypeAlias = tuple[int, int]


def divided(size: Size, divisor: int) -> Size:
    """Divides both sides, rounded down."""
    return size[0] // divisor, size[1] // divisor


def per_pixel(size: Size, operations: int) -> float:
    """Counts layers that cost so many operations at each pixel, as ReLU costs one for each channel."""
    return size[0] * size[1] * operations / 1e6


def conv(size: Size, in_channels: int, channels: int, kernel: int = 1, *, stride: int = 1, groups: int = 1) -> float:
    """Counts a convolution without its bias."""
    return per_pixel(divided(size, stride), kernel * kernel * (in_channels // groups) * channels)


def depthwise(size: Size, channels: int, *, stride: int = 1) -> float:
    """Counts a 3x3 convolution of each channel by itself."""
    return conv(size, channels, channels, 3, stride=stride, groups=channels)


def conv_bn_relu(size: Size, in_channels: int, channels: int, kernel: int = 1, *, stride: int = 1) -> float:
    """Counts a convolution, a normalization and a ReLU."""
    return conv(size, in_channels, channels, kernel, stride=stride) + per_pixel(divided(size, stride), 3 * channels)


def separable(size: Size, channels: int) -> float:
    """Counts a 3x3 depthwise convolution, a 1x1 convolution, a normalization and a ReLU."""
    return depthwise(size, channels) + conv_bn_relu(size, channels, channels)
