"""Panoptic Feature Pyramid Networks (Semantic FPN), Kirillov et al., CVPR 2019, https://arxiv.org/abs/1901.02446."""

import torch
from torch import Tensor, nn

from segkit.models.layers import ConvBNReLU, resize
from segkit.registry import HEADS


@HEADS.register
class SemFPNHead(nn.Module):
    """Every map of a pyramid is brought to the finest one's size by steps of one 3x3 convolution and twice the size,
    and their sum is classified (section 3, figure 3).

    strides: of the maps, each a power of two times the first; groups: of the normalization, 0 for batch normalization.
    The paper has groups=32, as segmentation_models (there with concat=False or True: the maps side by side instead of
    their sum); the default is the form of mmsegmentation's benchmark.
    """

    def __init__(
        self,
        in_channels: tuple[int, ...],
        num_classes: int,
        *,
        strides: tuple[int, ...],
        channels: int = 128,
        groups: int = 0,
        concat: bool = False,
        dropout: float = 0.1,
        align_corners: bool = False,
    ):
        super().__init__()
        self.align_corners = align_corners
        self.concat = concat
        self.paths = nn.ModuleList(
            _path(width, channels, stride // strides[0], align_corners=align_corners, groups=groups)
            for width, stride in zip(in_channels, strides)
        )
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = nn.Conv2d(channels * len(in_channels) if concat else channels, num_classes, 1)

    def forward(self, features: list[Tensor]) -> dict[str, Tensor]:
        """features[i]: float [B,in_channels[i],h_i,w_i] -> logits [B,num_classes,h_0,w_0], embedding
        [B,channels,h_0,w_0], with concat channels of every map."""
        maps = [path(x) for path, x in zip(self.paths, features)]
        # Doubling overshoots sizes that were rounded up on the way down.
        maps = [resize(x, like=maps[0], align_corners=self.align_corners) for x in maps]
        embedding = self.dropout(torch.cat(maps, dim=1) if self.concat else sum(maps[1:], maps[0]))
        return {"logits": self.classifier(embedding), "embedding": embedding}


def _path(in_channels: int, channels: int, factor: int, *, align_corners: bool, groups: int) -> nn.Sequential:
    """One convolution per doubling, and one where there is nothing to double."""
    steps: list[nn.Module] = []
    for i in range(max(factor.bit_length() - 1, 1)):
        conv = ConvBNReLU(channels if i else in_channels, channels)
        if groups:
            conv.bn = nn.GroupNorm(groups, channels)
        steps.append(conv)
        if factor > 1:
            steps.append(nn.Upsample(scale_factor=2, mode="bilinear", align_corners=align_corners))
    return nn.Sequential(*steps)
