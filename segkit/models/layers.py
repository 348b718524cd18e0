"""Blocks that several papers share. Shape legend: B batch, C channels, h w height and width of a feature map."""

from contextlib import AbstractContextManager, nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segkit.ops.averaging import full_precision
from segkit.ops.resized_conv import conv_of_resized
from segkit.ops.resizing import resize as resize  # the name under which heads know it

IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_STD = (58.395, 57.12, 57.375)
"""Of ImageNet's images in 0..255, red, green, blue: what encoders without statistics of their own use."""


def per_channel(values: tuple[float, ...], in_channels: int) -> tuple[float, ...]:
    """Statistics of RGB -> one value for each of in_channels, repeated in order; in_channels values stay as they are.
    Raises ValueError for any other count."""
    if len(values) not in (3, in_channels):
        raise ValueError(f"mean and std: {len(values)} values for an image of {in_channels} channels")
    return tuple(float(values[i % len(values)]) for i in range(in_channels))


def at_level(values: tuple[int, ...], level: int) -> int:
    """values: one per feature map (channels, strides); level: counted from the end, -1 the deepest -> its value.
    Raises ValueError where the backbone has no such level."""
    if not -len(values) <= level < len(values):
        raise ValueError(
            f"level {level}: the backbone gives {len(values)} feature maps; levels count from -1, the deepest"
        )
    return values[level]


def gaussian_xavier_(module: nn.Module) -> None:
    """Fresh values in place for all convolutions, linear layers and batch normalizations of a module: normal weights
    of variance 2 / mean(fan in, fan out), biases 0, scales 1. Twice the variance of Glorot and Bengio (2010, eq. 12):
    the law of RITM's published code. Other parameters stay."""
    for part in module.modules():
        if isinstance(part, nn.Linear | nn.modules.conv._ConvNd):
            nn.init.xavier_normal_(part.weight, gain=2**0.5)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
        elif isinstance(part, nn.modules.batchnorm._BatchNorm) and part.affine:
            nn.init.ones_(part.weight)
            nn.init.zeros_(part.bias)


class JoiningConv2d(nn.Conv2d):
    """nn.Conv2d that also takes several maps, each resized bilinearly to one size and joined along the channels: then
    the kernel is odd, stride, dilation and groups are 1."""

    def forward(
        self, x: Tensor | list[Tensor], size: tuple[int, int] | None = None, align_corners: bool = False
    ) -> Tensor:
        """x: float [B,in_channels,h,w]; or with size, (H, W), a list of float [B,C_i,h_i,w_i]."""
        if size is None:
            return super().forward(x)
        return conv_of_resized(x, self.weight, size, bias=self.bias, align_corners=align_corners)


class ConvBNReLU(nn.Module):
    """Convolution, batch normalization, ReLU: [B,in_channels,h,w] -> [B,channels,h',w'].

    kernel: its side, or (rows, columns); padding: None keeps the size at stride 1; norm=False gives the convolution a
    bias and no normalization; act=False leaves out the ReLU; bias=True keeps a bias before the normalization, which
    changes no result but is part of some published nets. Keys: conv.*, bn.*.
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
        self.conv = JoiningConv2d(
            in_channels, channels, (rows, columns), stride, padding, dilation, groups, bias=bias or not norm
        )
        nn.init.kaiming_normal_(self.conv.weight, mode="fan_out", nonlinearity="relu")
        self.bn = nn.BatchNorm2d(channels) if norm else nn.Identity()
        self.act = nn.ReLU(inplace=True) if act else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """float [B,in_channels,h,w] -> float [B,channels,h',w']."""
        return self.act(self.bn(self.conv(x)))

    def over_concat(self, maps: list[Tensor], *, like: Tensor, align_corners: bool = False) -> Tensor:
        """The same of several maps, each resized bilinearly to the size of `like` and joined along the channels: float
        [B,C_i,h_i,w_i] -> float [B,channels,h,w]. The large maps are not made where there is a cheaper way. For odd
        kernels of stride, dilation and groups 1."""
        return self.act(self.bn(self.conv(maps, tuple(like.shape[-2:]), align_corners)))


class DeformableConv2d(nn.Module):
    """A convolution without bias whose taps are moved by offsets that a second convolution gives, Dai et al., ICCV
    2017, section 2.1; modulated: each tap is also weighed in 0..1, Zhu et al., CVPR 2019, section 3.2:
    [B,in_channels,h,w] -> [B,channels,h',w']. Offsets start at 0. Keys: weight, conv_offset.*.
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
        """float [B,in_channels,h,w] -> float [B,channels,h',w']."""
        from torchvision.ops import deform_conv2d

        moves = self.conv_offset(x)
        with torch.autocast(x.device.type, enabled=False):  # places of taps need single precision
            x, moves = full_precision(x), full_precision(moves)
            return deform_conv2d(
                x,
                moves[:, : 2 * self.taps].contiguous(),
                self.weight,
                stride=self.stride,
                padding=self.padding,
                dilation=self.dilation,
                mask=moves[:, 2 * self.taps :].sigmoid() if self.modulated else None,
            )


class DepthwiseSeparable(nn.Module):
    """A convolution per channel, then one over channels: [B,in_channels,h,w] -> [B,channels,h',w'].

    depthwise_norm, depthwise_act: whether the first of the two has its own normalization and ReLU; without the
    normalization it has no bias either, since the next convolution follows at once. Keys: depthwise.*, pointwise.*.
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
            self.depthwise = ConvBNReLU(
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
        """float [B,in_channels,h,w] -> float [B,channels,h',w']."""
        return self.pointwise(self.depthwise(x))


class ImagePool(nn.Module):
    """The mean of the whole map through a 1x1 convolution, spread over the map again: [B,in_channels,h,w] ->
    [B,channels,h,w] (ParseNet's image-level feature)."""

    def __init__(self, in_channels: int, channels: int):
        super().__init__()
        self.project = ConvBNReLU(in_channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """float [B,in_channels,h,w] -> float [B,channels,h,w], equal at all positions."""
        return self.vector(x).expand(-1, -1, *x.shape[-2:])

    def vector(self, x: Tensor) -> Tensor:
        """float [B,in_channels,h,w] -> float [B,channels,1,1], what all positions get."""
        return self.project(x.mean((2, 3), keepdim=True))


class PyramidPooling(nn.Module):
    """Means over grids of bins x bins cells, each reduced by a 1x1 convolution (PSPNet, section 3.2):
    [B,in_channels,h,w] -> one [B,channels,bins,bins] per grid. What joins them resizes them: `ConvBNReLU.over_concat`.

    norm_single: whether the grid of one cell is normalized; without it a batch of one can be trained; act: whether the
    1x1 convolutions have a ReLU.
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
        """float [B,in_channels,h,w] -> list of float [B,channels,bins[i],bins[i]], in the order of bins."""
        return [project(F.adaptive_avg_pool2d(x, size)) for project, size in zip(self.projects, self.bins)]


class ASPP(nn.Module):
    """Atrous spatial pyramid pooling: a 1x1 convolution, one 3x3 per rate and the image's mean, side by side
    (DeepLabv3, section 3.3): [B,in_channels,h,w] -> len(rates) + 2 maps in the order mean [B,channels,1,1], 1x1, rates
    [B,channels,h,w]. What joins them spreads the mean: `ConvBNReLU.over_concat`.

    separable: the 3x3 convolutions are depthwise separable (DeepLabv3+, section 3.1); depthwise_norm is theirs.
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
            dilated = [
                DepthwiseSeparable(in_channels, channels, dilation=rate, depthwise_norm=depthwise_norm)
                for rate in rates
            ]
        else:
            dilated = [ConvBNReLU(in_channels, channels, 3, dilation=rate) for rate in rates]
        self.dilated = nn.ModuleList(dilated)

    def forward(self, x: Tensor) -> list[Tensor]:
        """float [B,in_channels,h,w] -> float [B,channels,1,1] and len(rates) + 1 times [B,channels,h,w]."""
        return [self.image_pool.vector(x), self.pointwise(x), *(conv(x) for conv in self.dilated)]


class SCSE(nn.Module):
    """Concurrent squeeze and excitation over channels and over positions, Roy et al., MICCAI 2018, section 2:
    [B,C,h,w] -> [B,C,h,w].

    reduction: channels / reduction are between the two layers of the channel gate (paper: 2);
    combine: how the two gated maps join, "sum" or "max" (the paper's four forms come down to these two here).
    """

    def __init__(self, channels: int, reduction: int = 16, combine: str = "sum"):
        super().__init__()
        if combine not in ("sum", "max"):
            raise ValueError(f"SCSE combine={combine!r}: choose 'sum' or 'max'")
        self.squeeze = nn.Conv2d(channels, max(channels // reduction, 1), 1)
        self.excite = nn.Conv2d(max(channels // reduction, 1), channels, 1)
        self.position = nn.Conv2d(channels, 1, 1)
        self.combine = combine

    def forward(self, x: Tensor) -> Tensor:
        """float [B,C,h,w] -> float [B,C,h,w]."""
        mean = x.mean((2, 3), keepdim=True)
        channel_gate = torch.sigmoid(self.excite(F.relu(self.squeeze(mean))))
        position_gate = torch.sigmoid(self.position(x))
        if self.combine == "sum":
            return x * channel_gate + x * position_gate
        return torch.maximum(x * channel_gate, x * position_gate)


def in_float32(x: Tensor) -> AbstractContextManager:
    """A region in which autocast is off for the device of x; shapes without data (meta) know no autocast."""
    return nullcontext() if x.is_meta else torch.autocast(x.device.type, enabled=False)
