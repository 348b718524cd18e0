"""STDC: Rethinking BiSeNet for Real-time Semantic Segmentation, Fan et al., CVPR 2021,
https://arxiv.org/abs/2104.13188."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segkit.archs._attention_refinement import AttentionRefinement
from segkit.constraints.named import Decay, PositiveFloat, PositiveInt
from segkit.models.bases import Backbone, Head
from segkit.models.layers import IMAGENET_MEAN, IMAGENET_STD, ConvBNReLU, at_level, per_channel, resize
from segkit.registry import BACKBONES, HEADS, NECKS
from segkit.types import Outputs


class ShortTermDense(nn.Module):
    """Short-term dense concatenation: convolutions of falling width one after the other, whose results are joined.

    Section 3.1, figure 3. The first is 1x1; where the block halves the map, it is averaged over 3 x 3 pixels for the
    result and passes a depthwise convolution for the next.

    Args:
        in_channels: channels of the input.
        channels: channels of the output.
        stride: 1 or 2.
        num_convs: number of convolutions.
    """

    def __init__(self, in_channels: int, channels: int, stride: int, num_convs: int = 4):
        super().__init__()
        widths = [channels // 2**i for i in range(1, num_convs)]
        widths.append(widths[-1])
        inputs = [in_channels, *widths[:-1]]
        self.convs = nn.ModuleList(ConvBNReLU(inputs[i], width, 3 if i else 1) for i, width in enumerate(widths))
        self.down = ConvBNReLU(widths[0], widths[0], stride=stride, groups=widths[0], act=False) if stride > 1 else None

    def forward(self, x: Tensor) -> Tensor:
        """Maps float [B,in_channels,h,w] to float [B,channels,h / stride,w / stride], sizes rounded up."""
        x = self.convs[0](x)
        joined = [x if self.down is None else F.avg_pool2d(x, 3, 2, 1)]
        x = x if self.down is None else self.down(x)
        for conv in self.convs[1:]:
            x = conv(x)
            joined.append(x)
        return torch.cat(joined, 1)


@BACKBONES.register
class STDC(Backbone):
    """STDC network: two convolutions and three stages of short-term dense blocks. Table 2.

    Args:
        in_channels: channels of the image.
        blocks: blocks of the last three stages: (2, 2, 2) is STDC1, (4, 5, 3) STDC2.
        channels: of the five maps, whose strides are 2, 4, 8, 16, 32.
        mean: mean of each image channel, in 0..255.
        std: standard deviation of each image channel, in 0..255.
    """

    order = "RGB"
    strides = (2, 4, 8, 16, 32)
    stem_stride = 2

    def __init__(
        self,
        in_channels: PositiveInt = 3,
        blocks: tuple[PositiveInt, PositiveInt, PositiveInt] = (2, 2, 2),
        *,
        channels: tuple[PositiveInt, ...] = (32, 64, 256, 512, 1024),
        mean: tuple[float, ...] = IMAGENET_MEAN,
        std: tuple[PositiveFloat, ...] = IMAGENET_STD,
    ):
        super().__init__()
        self.mean, self.std = per_channel(mean, in_channels), per_channel(std, in_channels)
        self.channels, self.stem_channels = tuple(channels), channels[0]
        stages: list[nn.Module] = [
            ConvBNReLU(in_channels, channels[0], stride=2),
            ConvBNReLU(channels[0], channels[1], stride=2),
        ]
        for number, before, width in zip(blocks, channels[1:], channels[2:]):
            stages.append(
                nn.Sequential(*(ShortTermDense(width if i else before, width, 1 if i else 2) for i in range(number)))
            )
        self.stages = nn.ModuleList(stages)

    def forward(self, image: Tensor, stem_add: Tensor | None = None) -> list[Tensor]:
        """Computes the feature maps.

        Args:
            image: float [B,in_channels,H,W], normalized.
            stem_add: float [B,channels[0],ceil(H / 2),ceil(W / 2)], added after the first convolution.

        Returns:
            Five maps, float [B,channels[i],ceil(H / strides[i]),ceil(W / strides[i])].
        """
        x = self.stages[0](image)
        maps = [x if stem_add is None else x + stem_add]
        for stage in self.stages[1:]:
            maps.append(stage(maps[-1]))
        return maps


class FeatureFusion(nn.Module):
    """Feature fusion of BiSeNet with a gate of two convolutions without normalization, added to what it gates.

    Args:
        in_channels: channels of both inputs together.
        channels: channels of the output.
        reduction: the gate has channels / reduction hidden channels.
    """

    def __init__(self, in_channels: int, channels: int, reduction: int = 4):
        super().__init__()
        self.conv = ConvBNReLU(in_channels, channels, 1)
        self.squeeze = nn.Conv2d(channels, max(channels // reduction, 1), 1, bias=False)
        self.excite = nn.Conv2d(max(channels // reduction, 1), channels, 1, bias=False)

    def forward(self, detail: Tensor, context: Tensor) -> Tensor:
        """Fuses float [B,C_i,h,w] of two maps to float [B,channels,h,w]."""
        x = self.conv(torch.cat([detail, context], 1))
        return x + x * torch.sigmoid(self.excite(torch.relu(self.squeeze(x.mean((2, 3), keepdim=True)))))


@NECKS.register
class STDCContext(nn.Module):
    """STDC's context path: context of strides 32 and 16 refined by attention, and fused with the map of stride 8.

    Section 3.2, figure 2. Reads the last three maps. Gives the map of stride 8 as it is, which the detail head reads,
    context at strides 16 and 8, and the fused map at stride 8.

    Args:
        in_channels: channels of each feature map.
        strides: image pixels per cell of each feature map.
        channels: width of the context.
        fused_channels: width of the fused map.
    """

    def __init__(
        self,
        in_channels: tuple[int, ...],
        strides: tuple[int, ...],
        *,
        channels: PositiveInt = 128,
        fused_channels: PositiveInt = 256,
    ):
        super().__init__()
        detail, middle, deep = (at_level(in_channels, level) for level in (-3, -2, -1))
        self.channels = (detail, channels, channels, fused_channels)
        self.strides = (strides[-3], strides[-2], strides[-3], strides[-3])
        self.image_pool = ConvBNReLU(deep, channels, 1)
        self.refine = nn.ModuleList(AttentionRefinement(width, channels) for width in (deep, middle))
        self.smooth = nn.ModuleList(ConvBNReLU(channels, channels) for _ in range(2))
        self.fuse = FeatureFusion(detail + channels, fused_channels)

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        """Computes the four maps.

        Args:
            features: feature maps, float [B,in_channels[i],h_i,w_i].

        Returns:
            Float [B,channels[i],h,w], of the last maps' sizes by their strides.
        """
        detail, middle, deep = features[-3:]
        context = self.image_pool(deep.mean((2, 3), keepdim=True))
        maps = [detail]
        for x, finer, refine, smooth in zip((deep, middle), (middle, detail), self.refine, self.smooth):
            context = smooth(resize(refine(x) + context, like=finer, mode="nearest"))
            maps.append(context)
        return [*maps, self.fuse(detail, context)]


@HEADS.register
class DetailHead(Head):
    """Predicts where there is detail, as an auxiliary head of STDC (section 3.3).

    Args:
        in_channels: channels of each feature map.
        num_classes: of the model; the head has two outputs whatever it is, no detail and detail.
        channels: width of the convolution.
        dropout: share of channels dropped before the classifier.
        level: map that the head reads, counted from the end; -1 is the deepest.
    """

    def __init__(
        self,
        in_channels: tuple[int, ...],
        num_classes: int,
        *,
        channels: PositiveInt = 64,
        dropout: Decay = 0.1,
        level: int = -4,
    ):
        super().__init__()
        self.level = level
        self.conv = ConvBNReLU(at_level(in_channels, level), channels)
        self.dropout = nn.Dropout2d(dropout)
        self.predict = nn.Conv2d(channels, 2, 1)

    def forward(self, features: list[Tensor]) -> Outputs:
        """Predicts detail.

        Args:
            features: feature maps, float [B,in_channels[i],h_i,w_i].

        Returns:
            "detail", float [B,2,h,w], logits of two sigmoids.
        """
        return {"detail": self.predict(self.dropout(self.conv(features[self.level])))}
