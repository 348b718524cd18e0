"""SimpleClick, Liu et al., ICCV 2023, https://arxiv.org/abs/2210.11006: its pyramid and its head.

SegNext (Liu et al., CVPR 2024, https://arxiv.org/abs/2404.00741) has the same two. B batch, K classes.
"""

from itertools import pairwise
from typing import Annotated

import torch.nn.functional as F
from torch import Tensor, nn

from segkit.constraints.named import Decay, OneOf, PositiveInt
from segkit.models.bases import Head
from segkit.models.layers import ConvBNReLU, at_level
from segkit.registry import HEADS, NECKS, ConfigError
from segkit.types import Outputs


@NECKS.register
class ClickPyramid(nn.Module):
    """Makes four maps of the backbone's last map alone, of 4, 2, 1 and 1 / 2 times its size.

    Transposed convolutions double the map, a convolution of stride 2 halves it; 1x1 convolutions follow. Everything is
    normalized over all channels and positions (a group normalization of one group). As published, an activation stands
    behind the first transposed convolution of the largest map and behind the last layer of all maps.

    Args:
        in_channels: channels of each feature map.
        strides: image pixels per cell of each feature map.
        channels: of the four maps, the largest map first.

    Raises:
        ConfigError: there are other than four widths.
    """

    def __init__(
        self,
        in_channels: tuple[int, ...],
        strides: tuple[PositiveInt, ...],
        *,
        channels: tuple[PositiveInt, ...] = (128, 256, 512, 1024),
    ):
        super().__init__()
        if len(channels) != 4:
            raise ConfigError(f"neck.channels = {tuple(channels)}: must be four widths, of the largest map first")
        width, stride = at_level(in_channels, -1), strides[-1]
        self.channels = tuple(channels)
        # of patches of 14 pixels the largest map has 3.5 pixels per cell, which is said as 3
        self.strides = (max(stride // 4, 1), max(stride // 2, 1), stride, 2 * stride)
        large, double = max(2 * channels[0], width // 2), max(channels[1], width // 2)
        half = max(channels[3], 2 * width)
        levels = (
            (*_doubled(width, large), nn.GELU(), *_doubled(large, large // 2), *_projected(large // 2, channels[0])),
            (*_doubled(width, double), *_projected(double, channels[1])),
            _projected(width, channels[2]),
            (nn.Conv2d(width, half, 2, 2), nn.GroupNorm(1, half), *_projected(half, channels[3])),
        )
        self.levels = nn.ModuleList(nn.Sequential(*layers) for layers in levels)

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        """Computes the pyramid.

        Args:
            features: feature maps, float [B,in_channels[i],h_i,w_i]; the last, of h x w, is read.

        Returns:
            Four maps, float [B,channels[i],...], of 4 h x 4 w, 2 h x 2 w, h x w, and half of that, rounded down but
            not to 0.
        """
        x = features[-1]
        height, width = x.shape[-2:]
        # a map of one row or column has no half
        whole = F.pad(x, (0, int(width < 2), 0, int(height < 2)), mode="replicate") if min(height, width) < 2 else x
        return [self.levels[0](x), self.levels[1](x), self.levels[2](x), self.levels[3](whole)]


def _doubled(in_channels: int, channels: int) -> tuple[nn.Module, ...]:
    return nn.ConvTranspose2d(in_channels, channels, 2, 2), nn.GroupNorm(1, channels)


def _projected(in_channels: int, channels: int) -> tuple[nn.Module, ...]:
    return nn.Conv2d(in_channels, channels, 1), nn.GroupNorm(1, channels), nn.GELU()


@HEADS.register
class SimpleClickHead(Head):
    """Projects every map to one width, resizes all to the largest, fuses and classifies them; nothing is normalized.

    Args:
        in_channels: channels of each feature map.
        num_classes: number of classes K.
        channels: width of the projections and of the fused map.
        upsample: how many times the size of the largest map the result has. Each doubling is a transposed convolution
            that halves the width, and a 1x1 convolution.
        dropout: share of channels dropped before the classifier.

    Raises:
        ConfigError: the width cannot be halved so often.
    """

    def __init__(
        self,
        in_channels: tuple[int, ...],
        num_classes: int,
        *,
        channels: PositiveInt = 256,
        upsample: Annotated[int, OneOf((1, 2, 4))] = 1,
        dropout: Decay = 0.1,
    ):
        super().__init__()
        if upsample not in (1, 2, 4) or channels % upsample:
            raise ConfigError(f"head.upsample = {upsample}: must be 1, 2 or 4, and divide head.channels = {channels}")
        self.projections = nn.ModuleList(ConvBNReLU(width, channels, 1, norm=False) for width in in_channels)
        self.fuse = ConvBNReLU(len(in_channels) * channels, channels, 1, norm=False)
        widths = [channels // factor for factor in (1, 2, 4) if factor <= upsample]
        self.doublings = nn.ModuleList(
            nn.Sequential(*_doubled(wide, narrow), *_projected(narrow, narrow)) for wide, narrow in pairwise(widths)
        )
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = nn.Conv2d(widths[-1], num_classes, 1)

    def forward(self, features: list[Tensor]) -> Outputs:
        """Predicts class logits.

        Args:
            features: feature maps, float [B,in_channels[i],h_i,w_i], the largest first.

        Returns:
            "logits", float [B,K,upsample * h_0,upsample * w_0], and "embedding", the input of the classifier.
        """
        maps = [project(x) for project, x in zip(self.projections, features, strict=True)]
        x = self.fuse.over_concat(maps, like=maps[0])
        for doubling in self.doublings:
            x = doubling(x)
        embedding = self.dropout(x)
        return {"logits": self.classifier(embedding), "embedding": embedding}
