"""Blocks that decoders of several papers share.

Shape legend: B batch, C channels, h w height and width of a feature map, H W those of the result.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segkit.models.layers import ConvBNReLU
from segkit.ops.resizing import fitted
from segkit.registry import LevelError


def halved_strides(strides: tuple[int, ...], channels: tuple[int, ...]) -> tuple[int, ...]:
    """Returns the stride of each block's result in a decoder that doubles the size step by step.

    Args:
        strides: of the encoder's maps, in pixels of the image.
        channels: of each block's result.

    Raises:
        LevelError: there are more blocks than the encoder's deepest stride has doublings.
    """
    most = int(math.log2(strides[-1]))
    if len(channels) > most:
        raise LevelError(
            f"channels = {tuple(channels)}: {len(channels)} blocks, but an encoder of stride {strides[-1]} allows "
            f"{most}; give fewer values"
        )
    return tuple(strides[-1] // 2 ** (i + 1) for i in range(len(channels)))


def skips_of(strides: tuple[int, ...], blocks: int) -> list[int | None]:
    """Finds the maps of an encoder that a decoder joins which doubles the size step by step.

    Args:
        strides: of each map, in pixels of the image.
        blocks: number of doublings, from the deepest stride on.

    Returns:
        For each block the index of the map that has the stride of its result, the deepest of several; None where the
        encoder has none.
    """
    wanted = [strides[-1] // 2 ** (i + 1) for i in range(blocks)]
    return [max((i for i, other in enumerate(strides) if other == stride), default=None) for stride in wanted]


class UpBlock(nn.Module):
    """Decoder block: doubles the size, concatenates the encoder's map where there is one, two convolutions.

    Args:
        in_channels: channels of the input.
        skip_channels: channels of the encoder's map; 0 where there is none.
        channels: channels of the output.
        gate: builds an attention block for a number of channels; one stands before the convolutions where a map is
            concatenated, one after them.
        upsample: mode of F.interpolate, "nearest" or "bilinear".
        norm: uses batch normalization.
    """

    def __init__(
        self,
        in_channels: int,
        skip_channels: int,
        channels: int,
        *,
        gate: Callable[[int], nn.Module] = nn.Identity,
        upsample: str = "nearest",
        norm: bool = True,
    ):
        super().__init__()
        width = in_channels + skip_channels
        self.upsample = upsample
        self.gate_in = gate(width) if skip_channels else nn.Identity()
        self.conv1 = ConvBNReLU(width, channels, norm=norm)
        self.conv2 = ConvBNReLU(channels, channels, norm=norm)
        self.gate_out = gate(channels)

    def forward(self, x: Tensor, skip: Tensor | None, size: tuple[int, int]) -> Tensor:
        """Applies the block.

        Args:
            x: float [B,in_channels,h,w].
            skip: float [B,skip_channels,H,W], the encoder's map, or None.
            size: (H, W) of the result without a skip, at most (2h + 1, 2w + 1); with one it has the skip's size.

        Returns:
            Float [B,channels,H,W].
        """
        size = size if skip is None else (skip.shape[-2], skip.shape[-1])
        x = fitted(F.interpolate(x, scale_factor=2, mode=self.upsample), size)
        if skip is not None:
            x = self.gate_in(torch.cat([x, skip], dim=1))
        x = self.conv1(x)  # frees the concatenated map, the largest of all, before the next convolution
        return self.gate_out(self.conv2(x))
