"""U-Net, Ronneberger, Fischer and Brox, MICCAI 2015, https://arxiv.org/abs/1505.04597, as a decoder on any encoder."""

import math
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segkit.models.layers import SCSE, ConvBNReLU
from segkit.registry import HEADS

ATTENTION = {"scse": SCSE}


class UpBlock(nn.Module):
    """Doubles the size, joins the encoder's map of that size where there is one, two convolutions."""

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
        """x: float [B,in_channels,h,w]; skip: float [B,skip_channels,H,W] or None -> float [B,channels,H,W],
        (H, W) = size, at most (2h, 2w)."""
        # An odd map is half of one that is padded by a cell: doubled and cut, its cells stay where they belong.
        x = F.interpolate(x, scale_factor=2, mode=self.upsample)[..., : size[0], : size[1]]
        if skip is not None:
            x = self.gate_in(torch.cat([x, skip], dim=1))
        x = self.conv1(x)  # step by step: the joined map, the largest of all, is free before the next convolution
        return self.gate_out(self.conv2(x))


@HEADS.register
class UNetHead(nn.Module):
    """From the deepest feature map upward, doubling the size and joining the encoder's map at every stride, to the
    image's own resolution with the default five blocks on an encoder of stride 32.

    channels: of the blocks, deep to shallow; fewer blocks than the encoder has strides leave the result at that
    fraction of the image. A stride the encoder has no map for is passed without one. attention: None or "scse", on
    each block's input (where a map joins) and output; reduction, combine: of scSE, see SCSE (segmentation_models has 16
    and "sum", the authors' code 2 and "max"); upsample: "nearest" or "bilinear"; norm: batch normalization.
    """

    needs = ("size",)

    def __init__(
        self,
        in_channels: tuple[int, ...],
        num_classes: int,
        strides: tuple[int, ...],
        *,
        channels: tuple[int, ...] = (256, 128, 64, 32, 16),
        attention: str | None = None,
        reduction: int = 16,
        combine: str = "sum",
        upsample: str = "nearest",
        norm: bool = True,
        kernel: int = 3,
        dropout: float = 0.0,
    ):
        super().__init__()
        if attention is not None and attention not in ATTENTION:
            raise ValueError(f"attention = {attention!r}: choose None or one of {', '.join(map(repr, ATTENTION))}")
        doublings = int(math.log2(strides[-1]))
        if len(channels) > doublings:
            raise ValueError(
                f"channels: {len(channels)} blocks, but an encoder of stride {strides[-1]} has {doublings}"
            )
        self.strides = tuple(strides[-1] // 2 ** (i + 1) for i in range(len(channels)))
        # At a stride that several maps have, the last and deepest of them joins.
        self.skips = tuple(
            max((i for i, s in enumerate(strides) if s == stride), default=None) for stride in self.strides
        )
        skip_channels = [0 if skip is None else in_channels[skip] for skip in self.skips]
        gate = partial(ATTENTION[attention], reduction=reduction, combine=combine) if attention else nn.Identity
        self.blocks = nn.ModuleList(
            UpBlock(width, skip, out, gate=gate, upsample=upsample, norm=norm)
            for width, skip, out in zip((in_channels[-1], *channels), skip_channels, channels)
        )
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = nn.Conv2d(channels[-1], num_classes, kernel, padding=kernel // 2)

    def forward(self, features: list[Tensor], size: tuple[int, int]) -> dict[str, Tensor]:
        """features[i]: float [B,in_channels[i],h_i,w_i]; size: (H, W) of the image -> logits [B,num_classes,h,w] and
        embedding [B,channels[-1],h,w] at the last block's stride."""
        x = features[-1]
        for block, skip, stride in zip(self.blocks, self.skips, self.strides):
            rows, columns = (-(-side // stride) for side in size)
            x = block(x, None if skip is None else features[skip], (rows, columns))
        embedding = self.dropout(x)
        return {"logits": self.classifier(embedding), "embedding": embedding}
