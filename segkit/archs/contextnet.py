"""ContextNet: Exploring Context and Detail for Semantic Segmentation in Real-time, Poudel et al., BMVC 2018,
https://arxiv.org/abs/1805.04554."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segkit.archs._bottleneck import bottlenecks
from segkit.constraints.named import PositiveFloat, PositiveInt
from segkit.models.bases import Backbone
from segkit.models.layers import IMAGENET_MEAN, IMAGENET_STD, ConvBNReLU, DepthwiseSeparable, per_channel, resize
from segkit.registry import BACKBONES

CONTEXT = ((1, 32, 1, 1), (6, 32, 1, 1), (6, 48, 3, 2), (6, 64, 3, 2), (6, 96, 2, 1), (6, 128, 2, 1))
"""Table 2 of the paper: expansion, channels, blocks, stride of the first block."""


@BACKBONES.register
class ContextNet(Backbone):
    """ContextNet: a shallow branch on the image and a deep branch on a smaller copy of it, fused at stride 8.

    Figure 1, section 3.2. Gives two maps of stride 8: that of the shallow branch and the fused one. The first
    convolutions are padded here.

    Args:
        in_channels: channels of the image.
        channels: width of both maps.
        reduction: how many times smaller the copy for the deep branch is: 2, 4 and 8 are the paper's cn12, cn14 and
            cn18.
        dilation: dilation of the convolution on the deep map once it has the shallow one's size (4 as in the paper;
            public code has 1).
        context: the bottlenecks of the deep branch, rows of table 2.
        align_corners: whether bilinear resizing aligns the corner pixels.
        mean: mean of each image channel, in 0..255.
        std: standard deviation of each image channel, in 0..255.
    """

    order = "RGB"
    strides = (8, 8)
    stem_channels, stem_stride = 32, 2

    def __init__(
        self,
        in_channels: PositiveInt = 3,
        channels: PositiveInt = 128,
        *,
        reduction: PositiveInt = 4,
        dilation: PositiveInt = 4,
        context: tuple[tuple[int, int, int, int], ...] = CONTEXT,
        align_corners: bool = False,
        mean: tuple[float, ...] = IMAGENET_MEAN,
        std: tuple[PositiveFloat, ...] = IMAGENET_STD,
    ):
        super().__init__()
        self.mean, self.std = per_channel(mean, in_channels), per_channel(std, in_channels)
        self.reduction, self.align_corners = reduction, align_corners
        self.channels = (channels, channels)
        self.stem = ConvBNReLU(in_channels, self.stem_channels, stride=2)
        self.detail = nn.Sequential(
            DepthwiseSeparable(self.stem_channels, channels // 2, stride=2),
            DepthwiseSeparable(channels // 2, channels, stride=2),
            DepthwiseSeparable(channels, channels),
        )
        self.context = nn.Sequential(
            ConvBNReLU(in_channels, self.stem_channels, stride=2), bottlenecks(self.stem_channels, context)
        )
        width = context[-1][1]
        self.spread = ConvBNReLU(width, channels, dilation=dilation, groups=width)
        self.low = _biased(channels)
        self.high = _biased(channels)

    def forward(self, image: Tensor, stem_add: Tensor | None = None) -> list[Tensor]:
        """Computes both maps.

        Args:
            image: float [B,in_channels,H,W], normalized.
            stem_add: float [B,32,ceil(H / 2),ceil(W / 2)], added after the first convolution of the shallow branch.

        Returns:
            The shallow and the fused map, both float [B,channels,ceil(H / 8),ceil(W / 8)].
        """
        x = self.stem(image)
        detail = self.detail(x if stem_add is None else x + stem_add)
        size = tuple(-(-side // self.reduction) for side in image.shape[-2:])
        reduced = F.interpolate(image, size, mode="bilinear", align_corners=self.align_corners)
        context = resize(self.context(reduced), like=detail, align_corners=self.align_corners)
        return [detail, torch.relu(self.high(detail) + self.low(self.spread(context)))]


def _biased(channels: int) -> nn.Sequential:
    """A 1x1 convolution with a bias before its normalization, which the published parameter count includes."""
    return nn.Sequential(nn.Conv2d(channels, channels, 1), nn.BatchNorm2d(channels))
