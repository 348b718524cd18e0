"""SETR, Zheng et al., CVPR 2021, https://arxiv.org/abs/2012.15840."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segkit.constraints.named import Decay, PositiveInt, Rounds
from segkit.models.bases import Head
from segkit.models.layers import ConvBNReLU, at_level
from segkit.models.map_norm import MapNorm
from segkit.registry import HEADS, NECKS
from segkit.types import Outputs

EPS = 1e-6


@HEADS.register
class SETRHead(Head):
    """Progressive upsampling (PUP): convolutions on one map of a Vision Transformer, each followed by an upsampling.

    Section 3.2, "Progressive UPsampling"; with one 1x1 convolution and scale 4 "Naive upsampling".

    Args:
        in_channels: channels of each feature map.
        num_classes: number of classes K.
        level: the map that is read, counted from the end.
        channels: width of the convolutions.
        num_convs: number of convolutions.
        kernel: side of their kernels.
        scale: factor by which the map grows after each.
        dropout: share of channels dropped before the classifier.
        align_corners: aligns the corner cells when maps are resized.
    """

    def __init__(
        self,
        in_channels: tuple[int, ...],
        num_classes: int,
        *,
        level: int = -1,
        channels: PositiveInt = 256,
        num_convs: Rounds = 4,
        kernel: PositiveInt = 3,
        scale: PositiveInt = 2,
        dropout: Decay = 0.0,
        align_corners: bool = False,
    ):
        super().__init__()
        width = at_level(in_channels, level)
        self.level, self.scale, self.align_corners = level, scale, align_corners
        self.norm = MapNorm(width, eps=EPS)
        self.convs = nn.ModuleList(ConvBNReLU(channels if i else width, channels, kernel) for i in range(num_convs))
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = nn.Conv2d(channels, num_classes, 1)

    def forward(self, features: list[Tensor]) -> Outputs:
        """Predicts class logits.

        Args:
            features: feature maps, float [B,in_channels[i],h_i,w_i].

        Returns:
            "logits", float [B,K,h,w], and "embedding", float [B,channels,h,w], the input of the classifier, at
            scale ** num_convs times the size of the map.
        """
        x = self.norm(features[self.level])
        for conv in self.convs:
            x = _larger(conv(x), self.scale, align_corners=self.align_corners)
        embedding = self.dropout(x)
        return {"logits": self.classifier(embedding), "embedding": embedding}


@NECKS.register
class MLANeck(nn.Module):
    """Multi-level aggregation (MLA) of maps of one size: projections, sums from the deepest on, a convolution each.

    Section 3.2, "Multi-Level feature Aggregation".

    Args:
        in_channels: channels of each feature map.
        strides: image pixels per cell of each feature map, all equal.
        channels: width of the resulting maps.
    """

    def __init__(self, in_channels: tuple[int, ...], strides: tuple[PositiveInt, ...], *, channels: PositiveInt = 256):
        super().__init__()
        self.channels, self.strides = (channels,) * len(in_channels), tuple(strides)
        self.norms = nn.ModuleList(MapNorm(width, eps=EPS) for width in in_channels)
        self.laterals = nn.ModuleList(ConvBNReLU(width, channels, 1) for width in in_channels)
        self.outputs = nn.ModuleList(ConvBNReLU(channels, channels) for _ in in_channels)

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        """Maps feature maps, float [B,in_channels[i],h,w], to as many, float [B,channels,h,w]."""
        maps = [lateral(norm(x)) for x, norm, lateral in zip(features, self.norms, self.laterals)]
        for i in reversed(range(len(maps) - 1)):
            maps[i] = maps[i] + maps[i + 1]
        return [output(x) for x, output in zip(maps, self.outputs)]


@HEADS.register
class SETRMLAHead(Head):
    """MLA decoder: two convolutions on each map, an upsampling by 4, all maps concatenated.

    Args:
        in_channels: channels of each feature map.
        num_classes: number of classes K.
        channels: width of the convolutions of each map.
        scale: factor by which the maps grow.
        dropout: share of channels dropped before the classifier.
        align_corners: aligns the corner cells when maps are resized.
    """

    def __init__(
        self,
        in_channels: tuple[int, ...],
        num_classes: int,
        *,
        channels: PositiveInt = 128,
        scale: PositiveInt = 4,
        dropout: Decay = 0.0,
        align_corners: bool = False,
    ):
        super().__init__()
        self.scale, self.align_corners = scale, align_corners
        self.paths = nn.ModuleList(
            nn.Sequential(ConvBNReLU(width, channels), ConvBNReLU(channels, channels)) for width in in_channels
        )
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = nn.Conv2d(channels * len(in_channels), num_classes, 1)

    def forward(self, features: list[Tensor]) -> Outputs:
        """Predicts class logits.

        Args:
            features: feature maps of one size, float [B,in_channels[i],h,w].

        Returns:
            "logits", float [B,K,scale * h,scale * w], and "embedding", the input of the classifier.
        """
        maps = [path(x) for path, x in zip(self.paths, features)]
        embedding = self.dropout(_larger(torch.cat(maps, 1), self.scale, align_corners=self.align_corners))
        return {"logits": self.classifier(embedding), "embedding": embedding}


def _larger(x: Tensor, scale: int, *, align_corners: bool) -> Tensor:
    return F.interpolate(x, scale_factor=scale, mode="bilinear", align_corners=align_corners)
