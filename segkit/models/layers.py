"""Layers and blocks that several papers share.

Shape legend: B batch, C channels, h w height and width of a feature map.
"""

from contextlib import AbstractContextManager, nullcontext
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segkit.ops.averaging import full_precision
from segkit.ops.resized_conv import conv_of_resized
from segkit.ops.resizing import grid_means
from segkit.ops.resizing import resize as resize  # heads import it from here
from segkit.registry import LevelError

IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_STD = (58.395, 57.12, 57.375)
"""Of ImageNet's images in 0..255, red, green, blue: the default of encoders that state none of their own."""


def per_channel(values: tuple[float, ...], in_channels: int) -> tuple[float, ...]:
    """Repeats the mean or standard deviation of RGB over the channels of an image.

    Args:
        values: three of RGB, repeated in order; or in_channels, kept.
        in_channels: channels of the image.

    Returns:
        in_channels values.

    Raises:
        ValueError: any other number of values.
    """
    if len(values) not in (3, in_channels):
        raise ValueError(
            f"mean and std: {len(values)} values for an image of {in_channels} channels; give 3 or {in_channels}"
        )
    return tuple(float(values[i % len(values)]) for i in range(in_channels))


def at_level(values: tuple[int, ...], level: int) -> int:
    """Returns a feature map's value from a list with one per feature map.

    Args:
        values: channels or strides of all feature maps.
        level: index of the feature map, counted from the end, -1 for the deepest.

    Raises:
        LevelError: the backbone has no such level.
    """
    if not -len(values) <= level < len(values):
        raise LevelError(
            f"level {level}: the backbone gives {len(values)} feature maps; levels count from -1, the deepest"
        )
    return values[level]


def gaussian_xavier_(module: nn.Module) -> None:
    """Initializes all convolutions, linear layers and batch normalizations of a module, in place.

    Weights are normal of variance 2 / mean(fan in, fan out), biases 0, scales 1: twice the variance of Glorot and
    Bengio (2010, eq. 12), as in RITM's published code. Other parameters are not changed.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Linear | nn.modules.conv._ConvNd):
            nn.init.xavier_normal_(layer.weight, gain=2**0.5)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        elif isinstance(layer, nn.modules.batchnorm._BatchNorm) and layer.affine:
            nn.init.ones_(layer.weight)
            nn.init.zeros_(layer.bias)


def bias_of(conv: nn.Conv2d) -> Tensor:
    """Returns the bias of a convolution that has one, float [out_channels]."""
    assert conv.bias is not None
    return conv.bias


class ConcatConv2d(nn.Conv2d):
    """An nn.Conv2d that also takes several feature maps, resizes them bilinearly to one size and concatenates them.

    For several maps the kernel must be odd, and stride, dilation and groups 1. Arguments as nn.Conv2d.
    """

    def forward(
        self, x: Tensor | list[Tensor], size: tuple[int, int] | None = None, align_corners: bool = False
    ) -> Tensor:
        """Convolves one map or the concatenation of several.

        Args:
            x: float [B,in_channels,h,w]; with size, a list of float [B,C_i,h_i,w_i].
            size: (H, W) to which the maps are resized; None for a single map.
            align_corners: of the resize.

        Returns:
            float [B,out_channels,h',w'].
        """
        if size is None:
            return super().forward(cast(Tensor, x))
        return conv_of_resized(cast(list[Tensor], x), self.weight, size, bias=self.bias, align_corners=align_corners)


class ConvBNReLU(nn.Module):
    """Convolution, batch normalization, ReLU. State dict keys: conv.*, bn.*.

    Args:
        in_channels: channels of the input.
        channels: channels of the output.
        kernel: size of a square kernel, or (rows, columns).
        stride, dilation, groups: of the convolution.
        padding: None keeps the size at stride 1.
        norm: False gives the convolution a bias and no normalization.
        act: False leaves out the ReLU.
        bias: keeps a bias before the normalization, which changes no result but is part of some published networks.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        kernel: int | tuple[int, int] = 3,
        *,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
        padding: int | tuple[int, int] | None = None,
        norm: bool = True,
        act: bool = True,
        bias: bool = False,
    ):
        super().__init__()
        rows, columns = (kernel, kernel) if isinstance(kernel, int) else kernel
        if padding is None:
            padding = (rows // 2 * dilation, columns // 2 * dilation)
        self.conv = ConcatConv2d(
            in_channels, channels, (rows, columns), stride, padding, dilation, groups, bias=bias or not norm
        )
        nn.init.kaiming_normal_(self.conv.weight, mode="fan_out", nonlinearity="relu")
        self.bn: nn.Module = nn.BatchNorm2d(channels) if norm else nn.Identity()
        self.act: nn.Module = nn.ReLU(inplace=True) if act else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Maps float [B,in_channels,h,w] to float [B,channels,h',w']."""
        return self.act(self.bn(self.conv(x)))

    def over_concat(self, maps: list[Tensor], *, like: Tensor, align_corners: bool = False) -> Tensor:
        """Equals `self(torch.cat([resize(m, like=like) for m in maps], 1))`.

        It does so without building the resized maps where that costs less. For odd kernels with stride, dilation and
        groups 1.

        Args:
            maps: float [B,C_i,h_i,w_i], together in_channels channels.
            like: a map whose height and width (h, w) are taken.
            align_corners: of the resize.

        Returns:
            float [B,channels,h,w].
        """
        return self.act(self.bn(self.conv(maps, tuple(like.shape[-2:]), align_corners)))


class DeformableConv2d(nn.Module):
    """Deformable convolution without bias: a second convolution predicts an offset for each kernel position.

    Dai et al., ICCV 2017, section 2.1. Offsets start at 0. State dict keys: weight, conv_offset.*.

    Args:
        in_channels: channels of the input.
        channels: channels of the output.
        kernel: size of the square kernel.
        stride, dilation: of both convolutions.
        padding: of both; None keeps the size at stride 1.
        modulated: also predicts a weight in 0..1 for each kernel position (Zhu et al., CVPR 2019, section 3.2).
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        kernel: int = 3,
        *,
        stride: int = 1,
        padding: int | None = None,
        dilation: int = 1,
        modulated: bool = False,
    ):
        super().__init__()
        self.stride, self.dilation = stride, dilation
        self.taps, self.modulated = kernel * kernel, modulated
        self.padding = kernel // 2 * dilation if padding is None else padding
        self.weight = nn.Parameter(torch.empty(channels, in_channels, kernel, kernel))
        nn.init.kaiming_normal_(self.weight, mode="fan_out", nonlinearity="relu")
        self.conv_offset = nn.Conv2d(in_channels, (2 + modulated) * self.taps, kernel, stride, self.padding, dilation)
        for parameter in self.conv_offset.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor) -> Tensor:
        """Maps float [B,in_channels,h,w] to float [B,channels,h',w']."""
        from torchvision.ops import deform_conv2d

        offsets = self.conv_offset(x)
        with torch.autocast(x.device.type, enabled=False):  # sampling positions need single precision
            x, offsets = full_precision(x), full_precision(offsets)
            return deform_conv2d(
                x,
                offsets[:, : 2 * self.taps].contiguous(),
                self.weight,
                stride=self.stride,
                padding=self.padding,
                dilation=self.dilation,
                mask=offsets[:, 2 * self.taps :].sigmoid() if self.modulated else None,
            )


class DepthwiseSeparable(nn.Module):
    """Depthwise separable convolution: one per channel, then a 1x1. State dict keys: depthwise.*, pointwise.*.

    Args:
        in_channels: channels of the input.
        channels: channels of the output.
        kernel: size of the depthwise kernel.
        stride, dilation: of the depthwise convolution.
        depthwise_norm: whether the depthwise convolution is normalized; without it there is no bias and no ReLU either,
            since the 1x1 convolution follows at once.
        depthwise_act: whether it has a ReLU of its own.
        act: whether the 1x1 convolution has a ReLU.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        kernel: int = 3,
        *,
        stride: int = 1,
        dilation: int = 1,
        depthwise_norm: bool = True,
        depthwise_act: bool = True,
        act: bool = True,
    ):
        super().__init__()
        if depthwise_norm:
            self.depthwise: nn.Module = ConvBNReLU(
                in_channels,
                in_channels,
                kernel,
                stride=stride,
                dilation=dilation,
                groups=in_channels,
                act=depthwise_act,
            )
        else:
            self.depthwise = nn.Conv2d(
                in_channels, in_channels, kernel, stride, kernel // 2 * dilation, dilation, in_channels, bias=False
            )
        self.pointwise = ConvBNReLU(in_channels, channels, 1, act=act)

    def forward(self, x: Tensor) -> Tensor:
        """Maps float [B,in_channels,h,w] to float [B,channels,h',w']."""
        return self.pointwise(self.depthwise(x))


class ImagePool(nn.Module):
    """Image-level feature (ParseNet): global average pooling, a 1x1 convolution, broadcast to the map's size.

    Args:
        in_channels: channels of the input.
        channels: channels of the output.
    """

    def __init__(self, in_channels: int, channels: int):
        super().__init__()
        self.project = ConvBNReLU(in_channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Maps float [B,in_channels,h,w] to float [B,channels,h,w], equal at all positions."""
        return self.vector(x).expand(-1, -1, *x.shape[-2:])

    def vector(self, x: Tensor) -> Tensor:
        """Maps float [B,in_channels,h,w] to float [B,channels,1,1], the feature before the broadcast."""
        return self.project(x.mean((2, 3), keepdim=True))


class PyramidPooling(nn.Module):
    """Pyramid pooling (PSPNet, section 3.2): average pooling over several grids, each followed by a 1x1 convolution.

    The results keep the size of their grids; `ConvBNReLU.over_concat` resizes and concatenates them.

    Args:
        in_channels: channels of the input.
        channels: channels of each output.
        bins: cells per side of each grid.
        norm_single: whether the grid of one cell is normalized; without it a batch of one can be trained.
        act: whether the 1x1 convolutions have a ReLU.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        bins: tuple[int, ...] = (1, 2, 3, 6),
        *,
        norm_single: bool = True,
        act: bool = True,
    ):
        super().__init__()
        self.bins = tuple(bins)
        self.projects = nn.ModuleList(
            ConvBNReLU(in_channels, channels, 1, norm=norm_single or size != 1, act=act) for size in self.bins
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        """Maps float [B,in_channels,h,w] to a list of float [B,channels,bins[i],bins[i]], in the order of bins."""
        return [project(grid_means(x, size)) for project, size in zip(self.projects, self.bins)]


class ASPP(nn.Module):
    """Atrous spatial pyramid pooling (DeepLabv3, section 3.3): a 1x1 convolution, one 3x3 per rate, and image pooling.

    The image-level feature keeps a size of 1 x 1; `ConvBNReLU.over_concat` broadcasts and concatenates.

    Args:
        in_channels: channels of the input.
        channels: channels of each output.
        rates: dilations of the 3x3 convolutions.
        separable: makes the 3x3 convolutions depthwise separable (DeepLabv3+, section 3.1).
        depthwise_norm: as in DepthwiseSeparable, for separable convolutions.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        rates: tuple[int, ...] = (12, 24, 36),
        *,
        separable: bool = False,
        depthwise_norm: bool = True,
    ):
        super().__init__()
        self.image_pool = ImagePool(in_channels, channels)
        self.pointwise = ConvBNReLU(in_channels, channels, 1)
        if separable:
            dilated: list[nn.Module] = [
                DepthwiseSeparable(in_channels, channels, dilation=rate, depthwise_norm=depthwise_norm)
                for rate in rates
            ]
        else:
            dilated = [ConvBNReLU(in_channels, channels, 3, dilation=rate) for rate in rates]
        self.dilated = nn.ModuleList(dilated)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Computes all branches.

        Args:
            x: float [B,in_channels,h,w].

        Returns:
            len(rates) + 2 maps: the image-level feature float [B,channels,1,1], the 1x1 convolution and one per rate,
            float [B,channels,h,w].
        """
        return [self.image_pool.vector(x), self.pointwise(x), *(conv(x) for conv in self.dilated)]


class SCSE(nn.Module):
    """Concurrent spatial and channel squeeze and excitation, Roy et al., MICCAI 2018, section 2.

    Args:
        channels: C.
        reduction: the channel gate has C / reduction hidden channels (paper: 2).
        combine: "sum" or "max" of the two gated maps (the paper's four forms come down to these two here).
    """

    def __init__(self, channels: int, reduction: int = 16, combine: str = "sum"):
        super().__init__()
        if combine not in ("sum", "max"):
            raise ValueError(f"SCSE combine = {combine!r}: must be 'sum' or 'max'")
        self.squeeze = nn.Conv2d(channels, max(channels // reduction, 1), 1)
        self.excite = nn.Conv2d(max(channels // reduction, 1), channels, 1)
        self.position = nn.Conv2d(channels, 1, 1)
        self.combine = combine

    def forward(self, x: Tensor) -> Tensor:
        """Gates float [B,C,h,w] to the same shape."""
        mean = x.mean((2, 3), keepdim=True)
        channel_gate = torch.sigmoid(self.excite(F.relu(self.squeeze(mean))))
        position_gate = torch.sigmoid(self.position(x))
        if self.combine == "sum":
            return x * channel_gate + x * position_gate
        return torch.maximum(x * channel_gate, x * position_gate)


def in_float32(x: Tensor) -> AbstractContextManager:
    """Returns a context in which autocast is off for the device of x; the meta device has no autocast."""
    return nullcontext() if x.is_meta else torch.autocast(x.device.type, enabled=False)
