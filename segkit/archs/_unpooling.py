"""Stages of VGG-16 that remember where their maxima lay, and their mirror images, as SegNet
(https://arxiv.org/abs/1511.00561) and DeconvNet (https://arxiv.org/abs/1505.04366) have them."""

import torch.nn.functional as F
from torch import Tensor, nn

from segkit.models.layers import ConvBNReLU

NUM_CONVS = (2, 2, 3, 3, 3)


class PoolingEncoder(nn.Module):
    """Five stages of 3x3 convolutions with normalization, each followed by pooling: [B,in_channels,H,W] ->
    [B,channels[-1],H / 32,W / 32], rounded up, and per stage the places of its maxima and its size."""

    def __init__(self, in_channels: int, channels: tuple[int, ...]):
        super().__init__()
        widths = (in_channels, *channels)
        self.stages = nn.ModuleList(
            nn.Sequential(*(ConvBNReLU(width if i == 0 else out, out, bias=True) for i in range(num_convs)))
            for width, out, num_convs in zip(widths, channels, NUM_CONVS)
        )

    def forward(self, x: Tensor, stem_add: Tensor | None) -> tuple[Tensor, list[tuple[Tensor, tuple[int, int]]]]:
        """x: float [B,in_channels,H,W]; stem_add: float [B,channels[0],H,W] or None, added behind the first
        convolution."""
        places = []
        for stage in self.stages:
            x = stage[0](x)
            if stem_add is not None:
                x, stem_add = x + stem_add, None
            x = stage[1:](x)
            size = tuple(x.shape[-2:])
            x, index = F.max_pool2d(x, 2, ceil_mode=True, return_indices=True)
            places.append((index, size))
        return x, places


class UnpoolingDecoder(nn.Module):
    """Values back at the places they came from, 0 elsewhere, and 3x3 convolutions; five times.

    channels: of the encoder's stages; num_last: convolutions of the last stage, the one at the image's own size.
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

    def forward(self, x: Tensor, places: list[tuple[Tensor, tuple[int, int]]]) -> Tensor:
        """x: float [B,channels[-1],h,w]; places: of PoolingEncoder -> float [B,channels[0],H,W]."""
        for stage, (index, size) in zip(self.stages, reversed(places)):
            x = stage(unpool(x, index, size))
        return x


def unpool(x: Tensor, index: Tensor, size: tuple[int, int]) -> Tensor:
    """x: float [B,C,h,w]; index: int64 [B,C,h,w], places in a map of `size` = (H, W), row by row -> float [B,C,H,W]
    with x at its places and 0 elsewhere. No place may be named twice."""
    flat = x.new_zeros(*x.shape[:2], size[0] * size[1])
    return flat.scatter(2, index.flatten(2), x.flatten(2)).unflatten(2, size)
