"""Fast-SCNN: Fast Semantic Segmentation Network, Poudel, Liwicki and Cipolla, BMVC 2019,
https://arxiv.org/abs/1902.04502."""

import torch
from torch import Tensor, nn

from segkit.archs._bottleneck import bottlenecks
from segkit.constraints.named import Decay, OptionalRounds, PositiveFloat, PositiveInt
from segkit.models.bases import Backbone, Head
from segkit.models.layers import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    ConvBNReLU,
    DepthwiseSeparable,
    PyramidPooling,
    at_level,
    per_channel,
    resize,
)
from segkit.registry import BACKBONES, HEADS
from segkit.types import Outputs


@BACKBONES.register
class FastSCNN(Backbone):
    """Fast-SCNN: three convolutions down to stride 8, a deep branch from there to stride 32, and their fusion.

    Table 1. Gives three maps: stride 8 (shallow), 32 (deep), 8 (fused). SegmenTron's network counts 15,488 parameters
    more than this one with out_kernel=1: its fusion has a 1x1 convolution where table 1 has a depthwise 3x3 (128 * 128
    for 128 * 9), and 256 biases before normalizations.

    Args:
        in_channels: channels of the image.
        channels: width of the deep and of the fused map.
        widths: channels of the three convolutions.
        stages: (expansion, channels, blocks, stride) of the deep branch's bottlenecks.
        bins: grid sizes of the pyramid pooling.
        out_kernel: kernel of the convolution after pyramid pooling: 3 in mmsegmentation's benchmark, 1 in other code.
        align_corners: whether bilinear resizing aligns the corner pixels.
        mean: mean of each image channel, in 0..255.
        std: standard deviation of each image channel, in 0..255.
    """

    order = "RGB"
    strides = (8, 32, 8)

    def __init__(
        self,
        in_channels: PositiveInt = 3,
        channels: PositiveInt = 128,
        *,
        widths: tuple[PositiveInt, ...] = (32, 48, 64),
        stages: tuple[tuple[int, int, int, int], ...] = ((6, 64, 3, 2), (6, 96, 3, 2), (6, 128, 3, 1)),
        bins: tuple[PositiveInt, ...] = (1, 2, 3, 6),
        out_kernel: PositiveInt = 3,
        align_corners: bool = False,
        mean: tuple[float, ...] = IMAGENET_MEAN,
        std: tuple[PositiveFloat, ...] = IMAGENET_STD,
    ):
        super().__init__()
        self.mean, self.std = per_channel(mean, in_channels), per_channel(std, in_channels)
        self.align_corners = align_corners
        self.stem_channels, self.stem_stride = widths[0], 2
        self.channels = (widths[2], channels, channels)
        self.stem = ConvBNReLU(in_channels, widths[0], stride=2)
        # Section 3.2.1: no ReLU between the two convolutions of a separable one.
        self.down = nn.Sequential(
            *(DepthwiseSeparable(widths[i], widths[i + 1], stride=2, depthwise_act=False) for i in (0, 1))
        )
        self.deep = bottlenecks(widths[2], stages)
        width = stages[-1][1]
        self.pools = PyramidPooling(width, width // len(bins), bins)
        self.fuse = ConvBNReLU(width + width // len(bins) * len(bins), channels, out_kernel)
        self.spread = ConvBNReLU(channels, channels, groups=channels)
        self.low = ConvBNReLU(channels, channels, 1, act=False)
        self.high = ConvBNReLU(widths[2], channels, 1, act=False)

    def forward(self, image: Tensor, stem_add: Tensor | None = None) -> list[Tensor]:
        """Computes the feature maps.

        Args:
            image: float [B,in_channels,H,W], normalized.
            stem_add: float [B,widths[0],ceil(H / 2),ceil(W / 2)], added after the first convolution.

        Returns:
            Three maps, float [B,channels[i],ceil(H / strides[i]),ceil(W / strides[i])].
        """
        x = self.stem(image)
        shallow = self.down(x if stem_add is None else x + stem_add)
        x = self.deep(shallow)
        deep = self.fuse.over_concat([x, *self.pools(x)], like=x, align_corners=self.align_corners)
        spread = self.spread(resize(deep, like=shallow, align_corners=self.align_corners))
        return [shallow, deep, torch.relu(self.high(shallow) + self.low(spread))]


@HEADS.register
class SeparableFCNHead(Head):
    """Depthwise separable convolutions and a classifier on one map (section 3.2.4).

    Args:
        in_channels: channels of each feature map.
        num_classes: number of classes K.
        channels: width of the convolutions.
        num_convs: number of separable convolutions.
        depthwise_act: puts a ReLU between the two convolutions of a separable one.
        dropout: share of channels dropped before the classifier.
        level: map that the head reads, counted from the end; -1 is the deepest.
    """

    def __init__(
        self,
        in_channels: tuple[int, ...],
        num_classes: int,
        *,
        channels: PositiveInt = 128,
        num_convs: OptionalRounds = 2,
        depthwise_act: bool = False,
        dropout: Decay = 0.1,
        level: int = -1,
    ):
        super().__init__()
        self.level = level
        widths = [at_level(in_channels, level)] + [channels] * num_convs
        self.convs = nn.Sequential(
            *(DepthwiseSeparable(width, channels, depthwise_act=depthwise_act) for width in widths[:-1])
        )
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = nn.Conv2d(widths[-1], num_classes, 1)

    def forward(self, features: list[Tensor]) -> Outputs:
        """Predicts class logits.

        Args:
            features: feature maps, float [B,in_channels[i],h_i,w_i].

        Returns:
            "logits", float [B,K,h,w], and "embedding", float [B,channels,h,w], the input of the classifier.
        """
        embedding = self.dropout(self.convs(features[self.level]))
        return {"logits": self.classifier(embedding), "embedding": embedding}
