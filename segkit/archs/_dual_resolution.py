"""Blocks that DDRNet and PIDNet share: residual stages, context pooling and layers of heads, as in public code."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segkit.models.layers import ConvBNReLU, resize

POOLS = ((5, 2), (9, 4), (17, 8))
"""Kernel and stride of each average pooling of the context, before that over the whole map."""


class PreActConv(nn.Module):
    """Batch normalization, ReLU, convolution without bias. State dict keys: bn.*, conv.*.

    Args:
        in_channels: channels of the input.
        channels: channels of the output.
        kernel: size of the square kernel.
        groups: of the convolution.
    """

    def __init__(self, in_channels: int, channels: int, kernel: int = 3, *, groups: int = 1):
        super().__init__()
        self.bn = nn.BatchNorm2d(in_channels)
        self.conv = nn.Conv2d(in_channels, channels, kernel, padding=kernel // 2, groups=groups, bias=False)
        nn.init.kaiming_normal_(self.conv.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """Maps float [B,in_channels,h,w] to float [B,channels,h,w]."""
        return self.conv(torch.relu(self.bn(x)))


class Residual(nn.Module):
    """Convolutions around which their input is added.

    Args:
        convs: the convolutions.
        shortcut: maps the input to the shape of their output; None keeps it.
        act: whether a ReLU follows the sum.
    """

    def __init__(self, convs: nn.Sequential, shortcut: nn.Module | None, *, act: bool):
        super().__init__()
        self.convs, self.shortcut, self.act = convs, shortcut, act

    def forward(self, x: Tensor) -> Tensor:
        """Maps float [B,C,h,w] to float [B,C',h',w']."""
        x = self.convs(x) + (x if self.shortcut is None else self.shortcut(x))
        return torch.relu(x) if self.act else x


def _shortcut(in_channels: int, channels: int, stride: int) -> nn.Module | None:
    if stride == 1 and in_channels == channels:
        return None
    return ConvBNReLU(in_channels, channels, 1, stride=stride, act=False)


def basic_blocks(in_channels: int, channels: int, number: int, stride: int = 1) -> nn.Sequential:
    """Builds residual blocks of two 3x3 convolutions; a ReLU follows each block but the last.

    Args:
        in_channels: channels of the input.
        channels: channels of the output.
        number: of blocks.
        stride: of the first block.

    Returns:
        The blocks in sequence; without the ReLU at their end, since a stage's sum is read before and after it.
    """
    blocks = []
    for i in range(number):
        first, step = (channels, 1) if i else (in_channels, stride)
        convs = nn.Sequential(ConvBNReLU(first, channels, stride=step), ConvBNReLU(channels, channels, act=False))
        blocks.append(Residual(convs, _shortcut(first, channels, step), act=i < number - 1))
    return nn.Sequential(*blocks)


def bottleneck_blocks(in_channels: int, width: int, number: int, stride: int = 1) -> nn.Sequential:
    """Builds residual blocks of a 1x1, a 3x3 and a 1x1 convolution to 2 width channels; no ReLU follows a block.

    Args:
        in_channels: channels of the input.
        width: channels of the 3x3 convolution.
        number: of blocks.
        stride: of the first block.

    Returns:
        The blocks in sequence.
    """
    blocks = []
    for i in range(number):
        first, step = (2 * width, 1) if i else (in_channels, stride)
        convs = nn.Sequential(
            ConvBNReLU(first, width, 1),
            ConvBNReLU(width, width, stride=step),
            ConvBNReLU(width, 2 * width, 1, act=False),
        )
        blocks.append(Residual(convs, _shortcut(first, 2 * width, step), act=False))
    return nn.Sequential(*blocks)


def shared_stem(in_channels: int, channels: int, number: int) -> nn.Sequential:
    """Builds the layers before the branches part: stride 8, 2 channels channels.

    Args:
        in_channels: channels of the image.
        channels: width of the first layers.
        number: of residual blocks in each of the two stages.

    Returns:
        Six modules; the first is the convolution to stride 2.
    """
    return nn.Sequential(
        ConvBNReLU(in_channels, channels, stride=2),
        ConvBNReLU(channels, channels, stride=2),
        basic_blocks(channels, channels, number),
        nn.ReLU(),
        basic_blocks(channels, 2 * channels, number, stride=2),
        nn.ReLU(),
    )


class _ContextPool(nn.Module):
    """The map, three average poolings of it and its mean, each narrowed by a convolution."""

    def __init__(self, in_channels: int, width: int, channels: int):
        super().__init__()
        number = len(POOLS) + 2
        self.scales = nn.ModuleList(PreActConv(in_channels, width, 1) for _ in range(number))
        self.compress = PreActConv(number * width, channels, 1)
        self.shortcut = PreActConv(in_channels, channels, 1)

    def pooled(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Returns the narrowed map and the narrowed poolings, resized to it: float [B,width,h,w] each."""
        pools = [F.avg_pool2d(x, kernel, stride, kernel // 2) for kernel, stride in POOLS]
        pools.append(x.mean((2, 3), keepdim=True))
        return self.scales[0](x), [resize(scale(pool), like=x) for scale, pool in zip(self.scales[1:], pools)]


class DAPPM(_ContextPool):
    """Deep aggregation pyramid pooling: each pooling is added to the result of the smaller one and convolved.

    Hong et al., DDRNet, section 3.3.

    Args:
        in_channels: channels of the input.
        width: channels of each pooling.
        channels: channels of the output.
    """

    def __init__(self, in_channels: int, width: int, channels: int):
        super().__init__(in_channels, width, channels)
        self.processes = nn.ModuleList(PreActConv(width, width) for _ in range(len(POOLS) + 1))

    def forward(self, x: Tensor) -> Tensor:
        """Maps float [B,in_channels,h,w] to float [B,channels,h,w]."""
        current, pools = self.pooled(x)
        maps = [current]
        for pool, process in zip(pools, self.processes):
            maps.append(process(pool + maps[-1]))
        return self.compress(torch.cat(maps, 1)) + self.shortcut(x)


class PAPPM(_ContextPool):
    """Parallel aggregation pyramid pooling: all poolings are added to the map and pass one grouped convolution.

    Xu et al., PIDNet, section 3.3. Arguments: DAPPM.
    """

    def __init__(self, in_channels: int, width: int, channels: int):
        super().__init__(in_channels, width, channels)
        number = len(POOLS) + 1
        self.process = PreActConv(number * width, number * width, groups=number)

    def forward(self, x: Tensor) -> Tensor:
        """Maps float [B,in_channels,h,w] to float [B,channels,h,w]."""
        first, pools = self.pooled(x)
        parallel = self.process(torch.cat([pool + first for pool in pools], 1))
        return self.compress(torch.cat([first, parallel], 1)) + self.shortcut(x)


class PreActLayers(nn.Module):
    """Batch normalization, ReLU, 3x3 convolution, batch normalization, ReLU: a head before its classifier.

    Args:
        in_channels: channels of the input.
        channels: channels of the output.
    """

    def __init__(self, in_channels: int, channels: int):
        super().__init__()
        self.conv = PreActConv(in_channels, channels)
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Maps float [B,in_channels,h,w] to float [B,channels,h,w]."""
        return torch.relu(self.norm(self.conv(x)))
