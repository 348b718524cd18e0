"""VGG-16 stages that keep the indices of their maxima, and the mirrored unpooling stages.

Used by SegNet (https://arxiv.org/abs/1511.00561) and DeconvNet (https://arxiv.org/abs/1505.04366).
"""

from collections.abc import Sequence
from typing import TypeAlias, cast

import torch.nn.functional as F
from torch import Tensor, nn

from segkit.models.layers import ConvBNReLU

NUM_CONVS = (2, 2, 3, 3, 3)
"""Convolutions of VGG-16's five stages."""

Pooling: TypeAlias = tuple[Tensor, tuple[int, int]]
"""Indices of the maxima of one max pooling, int64 [B,C,h,w], and the size (H, W) of the map before it."""


class PoolingEncoder(nn.Module):
    """The five stages of VGG-16, each ending in a max pooling that keeps its indices.

    A stage has 3x3 convolutions with batch normalization and ReLU before the pooling.

    Args:
        in_channels: channels of the image.
        channels: channels of the five stages.
    """

    def __init__(self, in_channels: int, channels: tuple[int, ...]):
        super().__init__()
        widths = (in_channels, *channels)
        self.stages = nn.ModuleList(
            nn.Sequential(*(ConvBNReLU(width if i == 0 else out, out, bias=True) for i in range(num_convs)))
            for width, out, num_convs in zip(widths, channels, NUM_CONVS)
        )

    def forward(self, x: Tensor, stem_add: Tensor | None) -> tuple[Tensor, list[Pooling]]:
        """Encodes an image.

        Args:
            x: float [B,in_channels,H,W].
            stem_add: float [B,channels[0],H,W], added after the first convolution, or None.

        Returns:
            Float [B,channels[-1],H / 32,W / 32], sizes rounded up, and for each stage its pooling: the indices of the
            maxima and the map's size (h, w) before pooling.
        """
        poolings: list[Pooling] = []
        for stage in cast(Sequence[nn.Sequential], self.stages):
            x = stage[0](x)
            if stem_add is not None:
                x, stem_add = x + stem_add, None
            x = stage[1:](x)
            height, width = x.shape[-2:]
            x, index = F.max_pool2d(x, 2, ceil_mode=True, return_indices=True)
            poolings.append((index, (height, width)))
        return x, poolings


class UnpoolingDecoder(nn.Module):
    """Five mirrored stages: max unpooling followed by 3x3 convolutions with batch normalization and ReLU.

    Unpooling puts each value back at the position of its maximum; all other positions are 0.

    Args:
        channels: channels of the encoder's five stages.
        num_last: number of convolutions in the last stage, which has the image's size.
    """

    def __init__(self, channels: tuple[int, ...], num_last: int):
        super().__init__()
        deep_first = tuple(reversed(channels))
        counts = (*reversed(NUM_CONVS[1:]), num_last)
        ends = (*deep_first[1:], deep_first[-1])
        self.stages = nn.ModuleList(
            nn.Sequential(
                *(ConvBNReLU(width, end if i == num_convs - 1 else width, bias=True) for i in range(num_convs))
            )
            for width, end, num_convs in zip(deep_first, ends, counts)
        )

    def forward(self, x: Tensor, poolings: list[Pooling]) -> Tensor:
        """Decodes the deepest map.

        Args:
            x: float [B,channels[-1],h,w].
            poolings: indices and sizes from PoolingEncoder.

        Returns:
            Float [B,channels[0],H,W].
        """
        for stage, (index, size) in zip(self.stages, reversed(poolings)):
            x = stage(unpool(x, index, size))
        return x


def unpool(x: Tensor, index: Tensor, size: tuple[int, int]) -> Tensor:
    """Max unpooling: puts each value at its index in a larger map of zeros.

    Args:
        x: float [B,C,h,w].
        index: int64 [B,C,h,w], row-major positions in a map of `size`; no position occurs twice in a channel.
        size: (H, W) of the result.

    Returns:
        Float [B,C,H,W].
    """
    flat = x.new_zeros(*x.shape[:2], size[0] * size[1])
    return flat.scatter(2, index.flatten(2), x.flatten(2)).unflatten(2, size)
