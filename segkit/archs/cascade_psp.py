"""CascadePSP, Cheng et al., CVPR 2020, https://arxiv.org/abs/2005.02551: the network that its three passes run."""

import torch
from torch import Tensor, nn

from segkit.constraints.named import PositiveInt
from segkit.models.cascade_segmentor import CascadeHead
from segkit.models.layers import ConcatConv2d, at_level, resize
from segkit.ops.resizing import grid_means
from segkit.registry import HEADS
from segkit.types import Outputs

HALO = 4
"""Rows beyond its own on which a row of an up block depends: one for each of its 3x3 convolutions."""

MOST_VALUES = 2**25
"""Values of the widest map of an up block that are computed at once in evaluation: 128 MiB in float32."""


class Pyramid(nn.Module):
    """Pyramid pooling without normalization, and a 1x1 convolution over the map and its pooled context.

    Args:
        in_channels: of the map.
        channels: of the result.
        bins: cells along each side of a pooling grid, one value per grid.
    """

    def __init__(self, in_channels: int, channels: int, bins: tuple[int, ...]):
        super().__init__()
        self.bins = bins
        self.pools = nn.ModuleList(nn.Conv2d(in_channels, in_channels, 1, bias=False) for _ in bins)
        self.fuse = ConcatConv2d(in_channels * (len(bins) + 1), channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Maps float [B,in_channels,h,w] to float [B,channels,h,w]."""
        pooled = [conv(grid_means(x, cells)) for conv, cells in zip(self.pools, self.bins)]
        return self.fuse([*pooled, x], (x.shape[-2], x.shape[-1])).relu()


def _convs(in_channels: int, channels: int) -> nn.Sequential:
    """Two 3x3 convolutions, each after a normalization and a ReLU."""
    return nn.Sequential(
        nn.BatchNorm2d(in_channels),
        nn.ReLU(inplace=True),
        nn.Conv2d(in_channels, channels, 3, padding=1),
        nn.BatchNorm2d(channels),
        nn.ReLU(inplace=True),
        nn.Conv2d(channels, channels, 3, padding=1),
    )


class UpBlock(nn.Module):
    """Doubles a map's resolution and joins an earlier map, by two residual units with normalizations in front.

    In evaluation large maps are computed in strips of rows, with the same result in less memory: at a side of 900 the
    last block would otherwise hold three maps of 850 MB.

    Args:
        in_channels: of the map.
        skip_channels: of the earlier map.
        channels: of the result.
    """

    def __init__(self, in_channels: int, skip_channels: int, channels: int):
        super().__init__()
        self.first = _convs(in_channels + skip_channels, channels)
        self.second = _convs(channels, channels)
        self.shortcut = nn.Conv2d(in_channels, channels, 1)
        self.width = in_channels + skip_channels

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """Joins two maps.

        Args:
            x: float [B,in_channels,h,w].
            skip: float [B,skip_channels,2h,2w].

        Returns:
            float [B,channels,2h,2w].
        """
        height, width = skip.shape[-2:]
        rows = max(MOST_VALUES // (self.width * width * len(x)), 2 * HALO)
        is_doubled = (height, width) == (2 * x.shape[-2], 2 * x.shape[-1])
        if self.training or rows >= height or not is_doubled:
            return self._joined(resize(x, like=skip), skip)
        return torch.cat([self._strip(x, skip, top, min(top + rows, height)) for top in range(0, height, rows)], 2)

    def _joined(self, large: Tensor, skip: Tensor) -> Tensor:
        y = self.first(torch.cat([large, skip], 1)) + self.shortcut(large)
        return y + self.second(y)

    def _strip(self, x: Tensor, skip: Tensor, top: int, bottom: int) -> Tensor:
        """Rows top to bottom of the result."""
        first, last = max(top - HALO, 0), min(bottom + HALO, skip.shape[-2])
        low, high = max(first // 2 - 1, 0), min((last + 1) // 2 + 1, x.shape[-2])
        large = resize(x[..., low:high, :], size=(2 * (high - low), skip.shape[-1]))
        joined = self._joined(large[..., first - 2 * low : last - 2 * low, :], skip[..., first:last, :])
        return joined[..., top - first : bottom - first, :]


def _logits(in_channels: int, channels: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(in_channels, channels, 1), nn.ReLU(inplace=True), nn.Conv2d(channels, 1, 1))


@HEADS.register
class CascadePSPHead(CascadeHead):
    """CascadePSP's decoder: pyramid pooling at stride 8, then up to strides 4, 2 and 1 with a mask at 8, 4 and 1.

    Section 3.1, figure 2. The last step joins the image itself.

    Args:
        in_channels: channels of each feature map.
        num_classes: must be 1.
        channels: of the map at stride 8.
        up_channels: of the maps at strides 4, 2 and 1.
        mask_channels: of the hidden layer in front of each mask.
        bins: cells along each side of a pooling grid, one value per grid.
        low_level: map of stride 4, counted from the end.
        stem_level: map of stride 2.

    Raises:
        ValueError: num_classes is not 1.
    """

    def __init__(
        self,
        in_channels: tuple[int, ...],
        num_classes: int,
        *,
        channels: PositiveInt = 1024,
        up_channels: tuple[PositiveInt, PositiveInt, PositiveInt] = (512, 256, 32),
        mask_channels: PositiveInt = 32,
        bins: tuple[PositiveInt, ...] = (1, 2, 3, 6),
        low_level: int = -4,
        stem_level: int = -5,
    ):
        super().__init__()
        if num_classes != 1:
            raise ValueError(f"num_classes = {num_classes}: the head predicts the mask of one object, set 1")
        self.low_level, self.stem_level = low_level, stem_level
        self.classifier = None
        self.pyramid = Pyramid(at_level(in_channels, -1), channels, bins)
        skips = (at_level(in_channels, low_level), at_level(in_channels, stem_level), 3)
        widths = (channels, *up_channels)
        self.up = nn.ModuleList(UpBlock(wide, skip, width) for wide, skip, width in zip(widths, skips, up_channels))
        self.os8 = _logits(channels, mask_channels)
        self.os4 = _logits(up_channels[0], mask_channels)
        self.os1 = _logits(up_channels[-1] + 3, mask_channels)

    def forward(self, features: list[Tensor], image: Tensor, stride: int = 1) -> Outputs:
        """Predicts masks; see CascadeHead.forward."""
        x = self.pyramid(features[-1])
        outputs: Outputs = {"os8.logits": self.os8(x)}
        if stride < 8:
            x = self.up[0](x, features[self.low_level])
            outputs["os4.logits"] = self.os4(x)
        if stride < 4:
            x = self.up[2](self.up[1](x, features[self.stem_level]), image)
            outputs["logits"] = self.os1(torch.cat([x, image], 1))
        return outputs
