"""Unified Perceptual Parsing (UPerNet), Xiao et al., ECCV 2018, https://arxiv.org/abs/1807.10221."""

from torch import Tensor, nn

from segkit.models.layers import ConvBNReLU, PyramidPooling, at_level, resize
from segkit.registry import HEADS


@HEADS.register
class UPerHead(nn.Module):
    """Pyramid pooling on the deepest map, a feature pyramid down to the finest, and all of its maps side by side.

    Section 3.2, figure 4, the branch for objects. channels: of every map of the pyramid; bins: cells a side of the
    pooling grids; num_levels: how many of the backbone's maps take part, counted from the deepest.
    """

    def __init__(
        self,
        in_channels: tuple[int, ...],
        num_classes: int,
        *,
        channels: int = 512,
        bins: tuple[int, ...] = (1, 2, 3, 6),
        num_levels: int = 4,
        dropout: float = 0.1,
        align_corners: bool = False,
    ):
        super().__init__()
        at_level(in_channels, -num_levels)
        self.num_levels = num_levels
        self.align_corners = align_corners
        *shallow, deep = in_channels[-num_levels:]
        self.pools = PyramidPooling(deep, channels, bins)
        self.fuse = ConvBNReLU(deep + len(bins) * channels, channels)
        self.laterals = nn.ModuleList(ConvBNReLU(width, channels, 1) for width in shallow)
        self.outputs = nn.ModuleList(ConvBNReLU(channels, channels) for _ in shallow)
        self.merge = ConvBNReLU(num_levels * channels, channels)
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = nn.Conv2d(channels, num_classes, 1)

    def forward(self, features: list[Tensor]) -> dict[str, Tensor]:
        """features[i]: float [B,in_channels[i],h_i,w_i] -> logits [B,num_classes,h,w], embedding [B,channels,h,w], of
        the finest map's size."""
        maps = self._pyramid(features[-self.num_levels :])
        embedding = self.dropout(self.merge.over_concat(maps, like=maps[0], align_corners=self.align_corners))
        return {"logits": self.classifier(embedding), "embedding": embedding}

    def _pyramid(self, features: list[Tensor]) -> list[Tensor]:
        """-> float [B,channels,h_i,w_i] for each level, the finest first."""
        *shallow, deep = features
        maps = [lateral(x) for lateral, x in zip(self.laterals, shallow)]
        maps.append(self.fuse.over_concat([deep, *self.pools(deep)], like=deep, align_corners=self.align_corners))
        for i in reversed(range(len(shallow))):
            maps[i] = maps[i] + resize(maps[i + 1], like=maps[i], align_corners=self.align_corners)
        return [*(output(x) for output, x in zip(self.outputs, maps)), maps[-1]]
