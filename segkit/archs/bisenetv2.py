"""BiSeNet V2: Bilateral Network with Guided Aggregation for Real-time Semantic Segmentation, Yu et al., IJCV 2021,
https://arxiv.org/abs/2004.02147."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segkit.constraints.named import PositiveFloat, PositiveInt
from segkit.models.bases import Backbone
from segkit.models.layers import IMAGENET_MEAN, IMAGENET_STD, ConvBNReLU, DepthwiseSeparable, per_channel, resize
from segkit.registry import BACKBONES


class StemBlock(nn.Module):
    """The semantic branch's stem, of stride 4: strided convolutions beside max pooling. Section 4.2, figure 4a.

    Args:
        in_channels: channels of the image.
        channels: channels of the output.
    """

    def __init__(self, in_channels: int, channels: int):
        super().__init__()
        self.first = ConvBNReLU(in_channels, channels, stride=2)
        self.convs = nn.Sequential(
            ConvBNReLU(channels, max(channels // 2, 1), 1), ConvBNReLU(max(channels // 2, 1), channels, stride=2)
        )
        self.fuse = ConvBNReLU(2 * channels, channels)

    def forward(self, image: Tensor) -> Tensor:
        """Maps float [B,in_channels,H,W] to float [B,channels,H / 4,W / 4], sizes rounded up."""
        x = self.first(image)
        return self.fuse(torch.cat([self.convs(x), F.max_pool2d(x, 3, 2, 1)], 1))


class GatherExpand(nn.Module):
    """Gather-and-expansion layer: a 3x3 convolution, depthwise ones at more channels, and a 1x1 back.

    Section 4.2, figure 5b and 5c, with the ReLU of public code behind the last depthwise convolution.

    Args:
        in_channels: channels of the input.
        channels: channels of the output; those of the input at stride 1.
        stride: 1 or 2; with 2 there are two depthwise convolutions and a shortcut of convolutions.
        expand: width of the depthwise convolutions as a multiple of in_channels.
    """

    def __init__(self, in_channels: int, channels: int, stride: int, expand: int):
        super().__init__()
        width = in_channels * expand
        self.gather = ConvBNReLU(in_channels, in_channels)
        depthwise = [ConvBNReLU(in_channels, width, stride=stride, groups=in_channels, act=stride == 1)]
        if stride > 1:
            depthwise.append(ConvBNReLU(width, width, groups=width))
        self.depthwise = nn.Sequential(*depthwise)
        self.project = ConvBNReLU(width, channels, 1, act=False)
        self.shortcut = (
            DepthwiseSeparable(in_channels, channels, stride=stride, depthwise_act=False, act=False)
            if stride > 1
            else None
        )

    def forward(self, x: Tensor) -> Tensor:
        """Maps float [B,in_channels,h,w] to float [B,channels,h / stride,w / stride], sizes rounded up."""
        shortcut = x if self.shortcut is None else self.shortcut(x)
        return torch.relu(shortcut + self.project(self.depthwise(self.gather(x))))


class ContextEmbedding(nn.Module):
    """Context embedding block: adds the image's mean feature to every pixel. Section 4.2, figure 4b.

    Args:
        channels: of input and output.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.norm = nn.BatchNorm2d(channels)
        self.project = ConvBNReLU(channels, channels, 1)
        self.conv = ConvBNReLU(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Maps float [B,channels,h,w] to the same shape."""
        return self.conv(x + self.project(self.norm(x.mean((2, 3), keepdim=True))))


class GuidedAggregation(nn.Module):
    """Bilateral guided aggregation: each branch gates the other at its own scale. Section 4.3, figure 6.

    Args:
        channels: of both inputs and of the output.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.detail_keep = self._separable(channels)
        self.detail_down = ConvBNReLU(channels, channels, stride=2, act=False)
        self.semantic_up = ConvBNReLU(channels, channels, act=False)
        self.semantic_keep = self._separable(channels)
        self.conv = ConvBNReLU(channels, channels)

    @staticmethod
    def _separable(channels: int) -> nn.Sequential:
        """A depthwise convolution with normalization and a plain 1x1 convolution."""
        return nn.Sequential(
            ConvBNReLU(channels, channels, groups=channels, act=False), nn.Conv2d(channels, channels, 1)
        )

    def forward(self, detail: Tensor, semantic: Tensor) -> Tensor:
        """Fuses float [B,channels,h,w] and float [B,channels,h / 4,w / 4] to float [B,channels,h,w]."""
        fine = self.detail_keep(detail) * torch.sigmoid(resize(self.semantic_up(semantic), like=detail))
        coarse = F.avg_pool2d(self.detail_down(detail), 3, 2, 1) * torch.sigmoid(self.semantic_keep(semantic))
        return self.conv(fine + resize(coarse, like=fine))


@BACKBONES.register
class BiSeNetV2(Backbone):
    """BiSeNet V2: a wide and shallow detail branch, a narrow and deep semantic branch, and their guided aggregation.

    Section 4, figure 3, table 1. Gives the semantic branch at strides 4, 8, 16 and 32, which auxiliary heads read in
    training, and the aggregated map of stride 8.

    Args:
        in_channels: channels of the image.
        detail_channels: widths of the detail branch's stages; the last is that of the aggregated map.
        semantic_channels: widths of the semantic branch's stages; the last equals detail_channels[-1].
        expand: width inside the semantic branch's layers as a multiple of their input's.
        mean: mean of each image channel, in 0..255.
        std: standard deviation of each image channel, in 0..255.

    Raises:
        ValueError: the branches end with different widths.
    """

    order = "RGB"
    strides = (4, 8, 16, 32, 8)
    stem_stride = 2

    def __init__(
        self,
        in_channels: PositiveInt = 3,
        *,
        detail_channels: tuple[PositiveInt, PositiveInt, PositiveInt] = (64, 64, 128),
        semantic_channels: tuple[PositiveInt, PositiveInt, PositiveInt, PositiveInt] = (16, 32, 64, 128),
        expand: PositiveInt = 6,
        mean: tuple[float, ...] = IMAGENET_MEAN,
        std: tuple[PositiveFloat, ...] = IMAGENET_STD,
    ):
        super().__init__()
        if detail_channels[-1] != semantic_channels[-1]:
            raise ValueError(
                f"detail_channels end with {detail_channels[-1]}, semantic_channels with {semantic_channels[-1]}: must "
                "be the same, since both branches are multiplied"
            )
        self.mean, self.std = per_channel(mean, in_channels), per_channel(std, in_channels)
        self.channels = (*semantic_channels, detail_channels[-1])
        self.stem_channels = detail_channels[0]
        first, second, third = detail_channels
        self.detail = nn.Sequential(
            ConvBNReLU(in_channels, first, stride=2),
            ConvBNReLU(first, first),
            *(ConvBNReLU(first if i == 0 else second, second, stride=1 if i else 2) for i in range(3)),
            *(ConvBNReLU(second if i == 0 else third, third, stride=1 if i else 2) for i in range(3)),
        )
        stages: list[nn.Module] = [StemBlock(in_channels, semantic_channels[0])]
        for before, width, number in zip(semantic_channels, semantic_channels[1:], (2, 2, 4)):
            layers = (GatherExpand(width if i else before, width, 1 if i else 2, expand) for i in range(number))
            stages.append(nn.Sequential(*layers))
        self.semantic = nn.ModuleList(stages)
        self.context = ContextEmbedding(semantic_channels[-1])
        self.aggregate = GuidedAggregation(detail_channels[-1])

    def forward(self, image: Tensor, stem_add: Tensor | None = None) -> list[Tensor]:
        """Computes the five maps.

        Args:
            image: float [B,in_channels,H,W], normalized.
            stem_add: float [B,detail_channels[0],ceil(H / 2),ceil(W / 2)], added after the first convolution of the
                detail branch.

        Returns:
            Float [B,channels[i],ceil(H / strides[i]),ceil(W / strides[i])].
        """
        x = self.detail[0](image)
        detail = self.detail[1:](x if stem_add is None else x + stem_add)
        maps, x = [], image
        for stage in self.semantic:
            x = stage(x)
            maps.append(x)
        return [*maps, self.aggregate(detail, self.context(x))]
