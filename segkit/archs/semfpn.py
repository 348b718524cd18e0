"""Panoptic Feature Pyramid Networks (Semantic FPN), Kirillov et al., CVPR 2019, https://arxiv.org/abs/1901.02446."""

import torch
from torch import Tensor, nn

from segkit.constraints.named import Decay, NonNegativeInt, PositiveInt
from segkit.models.bases import Head
from segkit.models.layers import ConvBNReLU, resize
from segkit.registry import HEADS
from segkit.types import Outputs


@HEADS.register
class SemFPNHead(Head):
    """Semantic FPN head: upsamples every map of a pyramid to the finest one's size and classifies their sum.

    Section 3, figure 3. A map is upsampled by steps of one 3x3 convolution and twice the size. The paper has groups=32,
    as has segmentation_models, there with either value of concat; the defaults are the form of mmsegmentation's
    benchmark.

    Args:
        in_channels: channels of each feature map.
        num_classes: number of classes K.
        strides: stride of each feature map in pixels of the image, a power of two times the first.
        channels: channels of every upsampled map.
        groups: groups of the group normalization; 0 is batch normalization.
        concat: concatenates the maps in place of their sum.
        dropout: share of channels dropped before the classifier.
        align_corners: aligns the corner cells when maps are resized.
    """

    needs_pyramid = True

    def __init__(
        self,
        in_channels: tuple[int, ...],
        num_classes: int,
        *,
        strides: tuple[PositiveInt, ...],
        channels: PositiveInt = 128,
        groups: NonNegativeInt = 0,
        concat: bool = False,
        dropout: Decay = 0.1,
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

    def forward(self, features: list[Tensor]) -> Outputs:
        """Predicts class logits.

        Args:
            features: feature maps, float [B,in_channels[i],h_i,w_i].

        Returns:
            "logits", float [B,K,h,w], and "embedding", float [B,channels,h,w], the input of the classifier, at the
            size of the first map; with concat the embedding has the channels of all maps.
        """
        maps = [path(x) for path, x in zip(self.paths, features)]
        # Doubling overshoots sizes that were rounded up on the way down.
        maps = [resize(x, like=maps[0], align_corners=self.align_corners) for x in maps]
        embedding = self.dropout(torch.cat(maps, dim=1) if self.concat else sum(maps[1:], maps[0]))
        return {"logits": self.classifier(embedding), "embedding": embedding}


def _path(in_channels: int, channels: int, factor: int, *, align_corners: bool, groups: int) -> nn.Sequential:
    """Builds the steps of one map: a convolution per doubling, and a single one where nothing is doubled."""
    steps: list[nn.Module] = []
    for i in range(max(factor.bit_length() - 1, 1)):
        conv = ConvBNReLU(channels if i else in_channels, channels)
        if groups:
            conv.bn = nn.GroupNorm(groups, channels)
        steps.append(conv)
        if factor > 1:
            steps.append(nn.Upsample(scale_factor=2, mode="bilinear", align_corners=align_corners))
    return nn.Sequential(*steps)
