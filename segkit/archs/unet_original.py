"""U-Net, Ronneberger, Fischer and Brox, MICCAI 2015, https://arxiv.org/abs/1505.04597, with its own encoder."""

from collections.abc import Sequence
from itertools import pairwise
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segkit.constraints.named import Decay, PositiveFloat, PositiveInt
from segkit.models.bases import Backbone
from segkit.models.layers import IMAGENET_MEAN, IMAGENET_STD, ConvBNReLU, per_channel
from segkit.ops.resizing import is_zero
from segkit.registry import BACKBONES


class Up(nn.Module):
    """One step of the expansive path: doubles the size, concatenates the encoder's map, two convolutions.

    Section 2. The channels are halved.

    Args:
        in_channels: channels of the input.
        channels: channels of the encoder's map and of the output.
        padding: padding of the convolutions; None keeps the size, 0 has none.
        norm: uses batch normalization.
        learned: upsamples by a transposed convolution; otherwise bilinearly with a 1x1 convolution.
    """

    def __init__(self, in_channels: int, channels: int, *, padding: int | None, norm: bool, learned: bool):
        super().__init__()
        self.up: nn.Module
        if learned:
            self.up = nn.ConvTranspose2d(in_channels, channels, 2, 2)
        else:
            self.up = nn.Sequential(
                nn.Upsample(scale_factor=2, mode="bilinear"), ConvBNReLU(in_channels, channels, 1, norm=norm)
            )
        self.convs = _two_convs(2 * channels, channels, padding, norm)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """Applies the step.

        Args:
            x: float [B,in_channels,h,w].
            skip: float [B,channels,H,W], at least (2h, 2w) large, of which the middle is taken.

        Returns:
            Float [B,channels,2h,2w]; 4 cells less along each side without padding.
        """
        x = self.up(x)
        return self.convs(torch.cat([_middle(skip, x.shape[-2:]), x], dim=1))


@BACKBONES.register
class UNet(Backbone):
    """The original U-Net, both paths; a 1x1 classifier (FCNHead with num_convs=0) completes it.

    It gives the maps of the expansive path, deep to shallow.

    Args:
        in_channels: channels of the image.
        channels: channels of the levels, shallow to deep.
        padding: "zero" keeps sizes and gives every map (strides 16 to 1 with five levels); an image is padded at
            the right and bottom to a multiple of the deepest stride, and the maps are cropped. "none" is the
            paper's own: convolutions eat a border, 572 x 572 becomes 388 x 388, and one map is given. "mirror"
            first continues the image by its mirror image (section 2, the overlap-tile strategy), so that the one
            map covers the image.
        norm: uses batch normalization (the paper has none).
        learned_up: upsamples by transposed convolutions (the paper's); otherwise bilinearly with a 1x1 convolution.
        dropout: share of elements dropped at the end of the contracting path.
        mean, std: statistics of each channel of the image, in 0..255.

    Raises:
        ValueError: if padding is unknown.
    """

    def __init__(
        self,
        in_channels: PositiveInt = 3,
        channels: tuple[PositiveInt, ...] = (64, 128, 256, 512, 1024),
        *,
        padding: str = "zero",
        norm: bool = True,
        learned_up: bool = True,
        dropout: Decay = 0.0,
        mean: tuple[float, ...] = IMAGENET_MEAN,
        std: tuple[PositiveFloat, ...] = IMAGENET_STD,
    ):
        super().__init__()
        if padding not in ("zero", "none", "mirror"):
            raise ValueError(f"padding = {padding!r}: must be 'zero', 'none' or 'mirror'")
        self.padding = padding
        self.mean, self.std = per_channel(mean, in_channels), per_channel(std, in_channels)
        self.stem_channels, self.stem_stride = channels[0], 1
        conv_padding = None if padding == "zero" else 0
        self.encoder = nn.ModuleList(
            _two_convs(width, out, conv_padding, norm) for width, out in zip((in_channels, *channels), channels)
        )
        self.dropout = nn.Dropout(dropout)
        deep_first = tuple(reversed(channels))
        self.decoder = nn.ModuleList(
            Up(width, out, padding=conv_padding, norm=norm, learned=learned_up) for width, out in pairwise(deep_first)
        )
        strides = tuple(2**i for i in reversed(range(len(channels))))
        self.channels, self.strides = (deep_first, strides) if padding == "zero" else (channels[:1], (1,))

    def forward(self, image: Tensor, stem_add: Tensor | None = None) -> list[Tensor]:
        """Encodes and decodes an image.

        Args:
            image: float [B,in_channels,H,W], normalized.
            stem_add: float [B,channels[0],H,W], added after the first convolution.

        Returns:
            Maps, float [B,channels[i],ceil(H / strides[i]),ceil(W / strides[i])], smaller with padding="none".
        """
        height, width = image.shape[-2:]
        rows, columns = self._indices(height, image.device), self._indices(width, image.device)
        x = self._extend(image, rows, columns)
        first = cast(nn.Sequential, self.encoder[0])
        x = first[0](x)
        if stem_add is not None:
            x = x + _middle(self._extend(stem_add, rows, columns), x.shape[-2:])
        skips = [first[1](x)]
        for convs in self.encoder[1:]:
            skips.append(convs(F.max_pool2d(skips[-1], 2)))
        features = [self.dropout(skips[-1])]
        for up, skip in zip(self.decoder, reversed(skips[:-1])):
            features.append(up(features[-1], skip))
        if self.padding == "none":
            return features[-1:]
        kept = features if self.padding == "zero" else features[-1:]
        return [f[..., : -(-height // s), : -(-width // s)] for f, s in zip(kept, self.strides)]

    def _indices(self, side: int, device: torch.device) -> tuple[int, Tensor | None]:
        """Number of cells to add at the end of a side, and for the mirror the source index of every cell."""
        unit = 2 ** (len(self.encoder) - 1)
        if self.padding == "zero":
            return -side % unit, None
        if self.padding == "none":
            return 0, None
        # At level i the two convolutions of each path eat 4 cells of 2**i pixels; the deepest level must give a whole
        # number of cells.
        eaten_up, eaten_down = 4 * (unit - 1), 4 * (unit - 1) + 4 * unit
        out = -(-(side + eaten_up) // unit) * unit - eaten_up
        border = (eaten_up + eaten_down) // 2
        position = torch.arange(-border, out + border, device=device)
        period = max(2 * (side - 1), 1)
        position = position.remainder(period)
        return 0, torch.minimum(position, period - position).clamp(max=side - 1)

    def _extend(self, x: Tensor, rows: tuple[int, Tensor | None], columns: tuple[int, Tensor | None]) -> Tensor:
        if rows[1] is not None:
            return x[:, :, rows[1]][:, :, :, columns[1]]
        return x if is_zero(rows[0], columns[0]) else F.pad(x, (0, columns[0], 0, rows[0]))


def _two_convs(in_channels: int, channels: int, padding: int | None, norm: bool) -> nn.Sequential:
    return nn.Sequential(
        ConvBNReLU(in_channels, channels, padding=padding, norm=norm),
        ConvBNReLU(channels, channels, padding=padding, norm=norm),
    )


def _middle(x: Tensor, size: Sequence[int]) -> Tensor:
    """Cuts the middle of this size out of a map [B,C,H,W]."""
    top = (x.shape[-2] - size[0]) // 2
    left = (x.shape[-1] - size[1]) // 2
    return x[..., top : top + size[0], left : left + size[1]]
