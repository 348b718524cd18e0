"""U-Net, Ronneberger, Fischer and Brox, MICCAI 2015, https://arxiv.org/abs/1505.04597, with its own encoder."""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segkit.models.layers import IMAGENET_MEAN, IMAGENET_STD, ConvBNReLU, per_channel
from segkit.registry import BACKBONES


class Up(nn.Module):
    """One step of the expansive path (section 2): twice the size at half the channels, the other path's map, two
    convolutions. learned: by a transposed convolution, else bilinear and a 1x1 convolution."""

    def __init__(self, in_channels: int, channels: int, *, padding: int | None, norm: bool, learned: bool):
        super().__init__()
        if learned:
            self.up = nn.ConvTranspose2d(in_channels, channels, 2, 2)
        else:
            self.up = nn.Sequential(
                nn.Upsample(scale_factor=2, mode="bilinear"), ConvBNReLU(in_channels, channels, 1, norm=norm)
            )
        self.convs = _two_convs(2 * channels, channels, padding, norm)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """x: float [B,in_channels,h,w]; skip: float [B,channels,>=2h,>=2w], cut to its middle -> float [B,channels,
        2h,2w], 4 less a side without padding."""
        x = self.up(x)
        return self.convs(torch.cat([_middle(skip, x.shape[-2:]), x], dim=1))


@BACKBONES.register
class UNet(nn.Module):
    """Both paths of the U-Net, so that a 1x1 classifier (FCNHead with num_convs=0) completes it:
    [B,in_channels,H,W] -> maps of the expansive path, deep to shallow.

    padding: "zero" keeps sizes and gives every map (strides 16 to 1 with five levels; an image is padded at the right
    and bottom to a multiple of the deepest stride and the maps cropped). "none" is the paper's own: convolutions eat
    a border, 572 x 572 becomes 388 x 388, one map. "mirror" continues the image by its mirror image first (section 2,
    the overlap-tile strategy), so that the one map covers the image. norm: batch normalization (the paper has none);
    learned_up: transposed convolutions (the paper's) or bilinear and 1x1; dropout: at the end of the contracting path;
    mean, std: in 0..255.
    """

    order = "RGB"

    def __init__(
        self,
        in_channels: int = 3,
        channels: tuple[int, ...] = (64, 128, 256, 512, 1024),
        *,
        padding: str = "zero",
        norm: bool = True,
        learned_up: bool = True,
        dropout: float = 0.0,
        mean: tuple[float, ...] = IMAGENET_MEAN,
        std: tuple[float, ...] = IMAGENET_STD,
    ):
        super().__init__()
        if padding not in ("zero", "none", "mirror"):
            raise ValueError(f"padding = {padding!r}: choose 'zero', 'none' or 'mirror'")
        self.padding = padding
        self.mean, self.std = per_channel(mean, in_channels), per_channel(std, in_channels)
        self.stem_channels, self.stem_stride = channels[0], 1
        around = None if padding == "zero" else 0
        self.encoder = nn.ModuleList(
            _two_convs(width, out, around, norm) for width, out in zip((in_channels, *channels), channels)
        )
        self.dropout = nn.Dropout(dropout)
        deep_first = tuple(reversed(channels))
        self.decoder = nn.ModuleList(
            Up(width, out, padding=around, norm=norm, learned=learned_up) for width, out in pairwise(deep_first)
        )
        strides = tuple(2**i for i in reversed(range(len(channels))))
        self.channels, self.strides = (deep_first, strides) if padding == "zero" else (channels[:1], (1,))

    def forward(self, image: Tensor, stem_add: Tensor | None = None) -> list[Tensor]:
        """image: float [B,in_channels,H,W]; stem_add: float [B,channels[0],H,W], added after the first convolution
        -> list of float [B,channels[i],ceil(H / strides[i]),ceil(W / strides[i])], smaller with padding="none"."""
        height, width = image.shape[-2:]
        rows, columns = self._indices(height, image.device), self._indices(width, image.device)
        x = self._extend(image, rows, columns)
        x = self.encoder[0][0](x)
        if stem_add is not None:
            x = x + _middle(self._extend(stem_add, rows, columns), x.shape[-2:])
        skips = [self.encoder[0][1](x)]
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
        """Cells to add at the end of a side, and for the mirror the source of every cell."""
        unit = 2 ** (len(self.encoder) - 1)
        if self.padding == "zero":
            return -side % unit, None
        if self.padding == "none":
            return 0, None
        # At level i the two convolutions of a path eat 4 cells of size 2**i, on the way down and on the way up; what
        # leaves the deepest level is a whole number of cells.
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
        return F.pad(x, (0, columns[0], 0, rows[0])) if rows[0] or columns[0] else x


def _two_convs(in_channels: int, channels: int, padding: int | None, norm: bool) -> nn.Sequential:
    return nn.Sequential(
        ConvBNReLU(in_channels, channels, padding=padding, norm=norm),
        ConvBNReLU(channels, channels, padding=padding, norm=norm),
    )


def _middle(x: Tensor, size: tuple[int, int]) -> Tensor:
    """float [B,C,H,W] -> [B,C,h,w], (h, w) = size, cut from the middle."""
    top, left = ((whole - part) // 2 for whole, part in zip(x.shape[-2:], size))
    return x[..., top : top + size[0], left : left + size[1]]
