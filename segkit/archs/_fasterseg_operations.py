"""The five operations of FasterSeg, of one width or slimmable.

No operation has a shortcut, whatever the authors' classes are called. All resizing is bilinear with aligned corners.
Shape legend: B batch, C channels, h w height and width of a feature map.
"""

from itertools import pairwise
from typing import Protocol, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segkit.archs._fasterseg_genotype import UNIT, num_filters
from segkit.models.layers import ConvBNReLU


def make_divisible(channels: float, divisor: int = 8) -> int:
    """Rounds a number of channels to a multiple of the divisor, at least 1, and never down by more than a tenth."""
    rounded = max(1, int(channels + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * channels else rounded


class Layers(Protocol):
    """Makes the layers of an operation; each takes a map and the number of the width that it gives."""

    def conv(self, in_channels: int, channels: int, kernel: int, stride: int) -> nn.Module:
        """Returns a convolution without a bias."""

    def norm(self, channels: int) -> nn.Module:
        """Returns a batch normalization."""


class FixedConv2d(nn.Conv2d):
    """A convolution of one width."""

    def forward(self, x: Tensor, width: int = 0) -> Tensor:
        """Maps float [B,C,h,w]; width is not read."""
        return super().forward(x)


class FixedNorm(nn.BatchNorm2d):
    """A batch normalization of one width."""

    def forward(self, x: Tensor, width: int = 0) -> Tensor:
        """Maps float [B,C,h,w]; width is not read."""
        return super().forward(x)


class SlimConv2d(nn.Conv2d):
    """A convolution of several widths: the first channels of one weight (Yu et al., Slimmable Neural Networks).

    Args:
        in_channels, channels: at full width.
        kernel, stride: of the convolution.
        widths: in twelfths, rising.
    """

    def __init__(self, in_channels: int, channels: int, kernel: int, stride: int, widths: tuple[int, ...]):
        super().__init__(in_channels, channels, kernel, stride, kernel // 2, bias=False)
        self.slim_channels = tuple(make_divisible(channels * width / UNIT) for width in widths)

    def forward(self, x: Tensor, width: int = -1) -> Tensor:
        """Convolves.

        Args:
            x: float [B,C,h,w], C of any width.
            width: number of the output's width.

        Returns:
            float [B,C',h',w'], C' as slim_channels[width].
        """
        weight = self.weight[: self.slim_channels[width], : x.shape[1]]
        return F.conv2d(x, weight, None, self.stride, self.padding)


class SlimNorm(nn.Module):
    """A batch normalization for each of several widths.

    Args:
        channels: at full width.
        widths: in twelfths, rising.
    """

    def __init__(self, channels: int, widths: tuple[int, ...]):
        super().__init__()
        self.bn = nn.ModuleList(nn.BatchNorm2d(make_divisible(channels * width / UNIT)) for width in widths)

    def forward(self, x: Tensor, width: int = -1) -> Tensor:
        """Normalizes float [B,C,h,w] by the statistics of a width; channels beyond that width are left out."""
        norm = cast(nn.BatchNorm2d, self.bn[width])
        return norm(x[:, : norm.num_features])  # two halves may be rounded up to more than the whole, see Skip


class Fixed:
    """Makes layers of one width."""

    def conv(self, in_channels: int, channels: int, kernel: int, stride: int) -> nn.Module:
        return initialized(FixedConv2d(in_channels, channels, kernel, stride, kernel // 2, bias=False))

    def norm(self, channels: int) -> nn.Module:
        return FixedNorm(channels)


class Slim:
    """Makes slimmable layers; widths: in twelfths, rising."""

    def __init__(self, widths: tuple[int, ...]):
        self.widths = widths

    def conv(self, in_channels: int, channels: int, kernel: int, stride: int) -> nn.Module:
        return initialized(SlimConv2d(in_channels, channels, kernel, stride, self.widths))

    def norm(self, channels: int) -> nn.Module:
        return SlimNorm(channels, self.widths)


def initialized(conv: nn.Conv2d) -> nn.Conv2d:
    """Returns the convolution with weights by He et al., from the inputs, as the authors' code."""
    nn.init.kaiming_normal_(conv.weight, mode="fan_in", nonlinearity="relu")
    return conv


class Same(nn.Module):
    """The operation skip at stride 1 in a derived network: the map itself."""

    def forward(self, x: Tensor, width: int = 0) -> Tensor:
        """Returns x."""
        return x


class Skip(nn.Module):
    """The operation skip where it is no identity: 1x1 convolutions without a neighborhood.

    At stride 2 the second of two convolutions sees the map shifted by one pixel, and each gives half of the channels.

    Args:
        in_channels, channels: at full width.
        stride: 1 or 2.
        layers: makes the layers.
    """

    def __init__(self, in_channels: int, channels: int, stride: int, layers: Layers):
        super().__init__()
        half = channels // stride
        self.conv1 = layers.conv(in_channels, half, 1, stride)
        self.conv2 = layers.conv(in_channels, channels - half, 1, stride) if stride == 2 else None
        self.bn = layers.norm(channels)

    def forward(self, x: Tensor, width: int = -1) -> Tensor:
        """Maps float [B,C,h,w] to a width; at stride 2 to half of the size, rounded up."""
        maps = self.conv1(x, width)
        if self.conv2 is not None:
            # of a map of odd size the shifted one lacks its last row and column; zeros stand for them
            shifted = F.pad(x, (0, x.shape[-1] % 2, 0, x.shape[-2] % 2))[..., 1:, 1:]
            maps = torch.cat([maps, self.conv2(shifted, width)], 1)
        return F.relu(self.bn(maps, width))


class Convolve(nn.Module):
    """One or two 3x3 convolutions with normalization and ReLU, at the map's size or on a map of half of it.

    A zoomed operation halves the map first, rounded down; at stride 2 its result stays so, at stride 1 it is enlarged
    again before the last ReLU.

    Args:
        in_channels, channels: at full width.
        stride: 1 or 2.
        layers: makes the layers.
        is_double: two convolutions instead of one.
        is_zoomed: on a map of half of the size.
    """

    def __init__(
        self, in_channels: int, channels: int, stride: int, layers: Layers, *, is_double: bool, is_zoomed: bool
    ):
        super().__init__()
        self.stride, self.is_zoomed = stride, is_zoomed
        self.conv1 = layers.conv(in_channels, channels, 3, 1 if is_zoomed else stride)
        self.bn1 = layers.norm(channels)
        self.conv2 = layers.conv(channels, channels, 3, 1) if is_double else None
        self.bn2 = layers.norm(channels) if is_double else None

    def forward(self, x: Tensor, width: int = -1) -> Tensor:
        """Maps float [B,C,h,w] to a width."""
        size = x.shape[-2:]
        if self.is_zoomed:
            x = _resized(x, (max(size[0] // 2, 1), max(size[1] // 2, 1)))
        x = self.bn1(self.conv1(x, width), width)
        if self.conv2 is not None and self.bn2 is not None:
            x = self.bn2(self.conv2(F.relu(x), width), width)
        if self.is_zoomed and self.stride == 1:
            x = _resized(x, (size[0], size[1]))
        return F.relu(x)


def _resized(x: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(x, size, mode="bilinear", align_corners=True)


CONVOLUTIONS = {
    "conv": (False, False),
    "conv_downup": (False, True),
    "conv_2x": (True, False),
    "conv_2x_downup": (True, True),
}
"""Whether an operation has two convolutions, and whether it is zoomed."""


def operation(name: str, in_channels: int, channels: int, stride: int, layers: Layers) -> nn.Module:
    """Builds an operation of a genotype that may change the number of channels.

    Args:
        name: one of OPERATIONS.
        in_channels, channels: at full width.
        stride: 1 or 2.
        layers: of one width or slimmable.
    """
    if name == "skip":
        return Skip(in_channels, channels, stride, layers)
    is_double, is_zoomed = CONVOLUTIONS[name]
    return Convolve(in_channels, channels, stride, layers, is_double=is_double, is_zoomed=is_zoomed)


def conv_norm(in_channels: int, channels: int, kernel: int, *, stride: int = 1) -> ConvBNReLU:
    """Returns a convolution with normalization and ReLU, of one width."""
    conv = ConvBNReLU(in_channels, channels, kernel, stride=stride)
    initialized(conv.conv)
    return conv


def classify(in_channels: int, num_classes: int) -> tuple[ConvBNReLU, nn.Conv2d]:
    """Returns the end of a head: a 3x3 convolution, which halves more than 256 channels, and a 1x1 classifier."""
    channels = in_channels if in_channels <= 256 else in_channels // 2
    classifier = nn.Conv2d(channels, num_classes, 1)
    initialized(classifier)
    return conv_norm(in_channels, channels, 3), classifier


def stem(in_channels: int, widths: tuple[int, int, int]) -> nn.Sequential:
    """Returns the stem, to stride 8: a 3x3 convolution and two doubled ones, each of stride 2.

    Args:
        in_channels: channels of the image.
        widths: channels after each of the three.
    """
    first = conv_norm(in_channels, widths[0], 3, stride=2)
    doubled = (operation("conv_2x", a, b, 2, Fixed()) for a, b in pairwise(widths))
    return nn.Sequential(first, *doubled)


def stem_channels(base: int, width: int) -> tuple[int, int, int]:
    """Returns the channels of the stem's three layers; width: in twelfths."""
    return 2 * num_filters(2, base, width), 2 * num_filters(4, base, width), num_filters(8, base, width)
