"""Pyramid Attention Network for Semantic Segmentation (PAN), Li et al., BMVC 2018, https://arxiv.org/abs/1805.10180."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segkit.constraints.named import Decay, PositiveInt, Rounds
from segkit.models.bases import Head
from segkit.models.layers import ConvBNReLU, at_level, resize
from segkit.registry import HEADS
from segkit.types import Outputs


class FeaturePyramidAttention(nn.Module):
    """Feature pyramid attention: weights a map by a pyramid of 7x7, 5x5 and 3x3 convolutions and adds its mean.

    Section 3.1, figure 3. The pyramid is one channel wide, as in segmentation_models; the paper does not tell its
    width.

    Args:
        in_channels: channels of the input.
        channels: channels of the output.
        align_corners: aligns the corner cells when maps are resized.
    """

    def __init__(self, in_channels: int, channels: int, *, align_corners: bool):
        super().__init__()
        self.align_corners = align_corners
        self.image_pool = ConvBNReLU(in_channels, channels, 1, bias=True)
        self.main = ConvBNReLU(in_channels, channels, 1, bias=True)
        self.down = nn.ModuleList(
            [
                ConvBNReLU(in_channels, 1, 7, bias=True),
                ConvBNReLU(1, 1, 5, bias=True),
                nn.Sequential(ConvBNReLU(1, 1, 3, bias=True), ConvBNReLU(1, 1, 3, bias=True)),
            ]
        )
        self.across = nn.ModuleList(ConvBNReLU(1, 1, kernel, bias=True) for kernel in (7, 5))

    def forward(self, x: Tensor) -> Tensor:
        """Applies the attention.

        Args:
            x: float [B,in_channels,h,w].

        Returns:
            Float [B,channels,h,w].
        """
        half = self.down[0](_half(x))
        quarter = self.down[1](_half(half))
        eighth = self.down[2](_half(quarter))
        quarter = self.across[1](quarter) + resize(eighth, like=quarter, align_corners=self.align_corners)
        half = self.across[0](half) + resize(quarter, like=half, align_corners=self.align_corners)
        attention = resize(half, like=x, align_corners=self.align_corners)
        return attention * self.main(x) + self.image_pool(x.mean((2, 3), keepdim=True))


class GlobalAttentionUpsample(nn.Module):
    """Global attention upsample: weights the channels of a fine map by the coarse map's mean and adds the coarse map.

    Section 3.2, figure 4.

    Args:
        low_channels: channels of the fine map.
        channels: channels of the coarse map and of the output.
        align_corners: aligns the corner cells when maps are resized.
    """

    def __init__(self, low_channels: int, channels: int, *, align_corners: bool):
        super().__init__()
        self.align_corners = align_corners
        self.gate = ConvBNReLU(channels, channels, 1, act=False, bias=True)
        self.low = ConvBNReLU(low_channels, channels, bias=True)

    def forward(self, low: Tensor, high: Tensor) -> Tensor:
        """Fuses two maps.

        Args:
            low: float [B,low_channels,h',w'], the fine map.
            high: float [B,channels,h,w], the coarse map.

        Returns:
            Float [B,channels,h',w'].
        """
        # The gate has a sigmoid as in segmentation_models; the paper's figure has a ReLU.
        gate = torch.sigmoid(self.gate(high.mean((2, 3), keepdim=True)))
        low = self.low(low)
        return low * gate + resize(high, like=low, align_corners=self.align_corners)


@HEADS.register
class PANHead(Head):
    """PAN head: feature pyramid attention on the deepest map, then global attention upsampling through the finer maps.

    Section 3.3, figure 2, in the form of segmentation_models, whose models have align_corners=True.

    Args:
        in_channels: channels of each feature map.
        num_classes: number of classes K.
        channels: width of every map.
        num_levels: number of maps that are read, counted from the deepest.
        kernel: kernel size of the classifier.
        dropout: share of channels dropped before the classifier.
        align_corners: aligns the corner cells when maps are resized.
    """

    needs_pyramid = True

    def __init__(
        self,
        in_channels: tuple[int, ...],
        num_classes: int,
        *,
        channels: PositiveInt = 32,
        num_levels: Rounds = 4,
        kernel: PositiveInt = 3,
        dropout: Decay = 0.0,
        align_corners: bool = True,
    ):
        super().__init__()
        at_level(in_channels, -num_levels)
        self.num_levels = num_levels
        *shallow, deep = in_channels[-num_levels:]
        self.attention = FeaturePyramidAttention(deep, channels, align_corners=align_corners)
        self.upsample = nn.ModuleList(
            GlobalAttentionUpsample(width, channels, align_corners=align_corners) for width in shallow
        )
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = nn.Conv2d(channels, num_classes, kernel, padding=kernel // 2)

    def forward(self, features: list[Tensor]) -> Outputs:
        """Predicts class logits.

        Args:
            features: feature maps, float [B,in_channels[i],h_i,w_i].

        Returns:
            "logits", float [B,K,h,w], and "embedding", float [B,channels,h,w], the input of the classifier; both
            have the size of the finest map that is read.
        """
        *shallow, deep = features[-self.num_levels :]
        x = self.attention(deep)
        for upsample, low in reversed([*zip(self.upsample, shallow)]):
            x = upsample(low, x)
        embedding = self.dropout(x)
        return {"logits": self.classifier(embedding), "embedding": embedding}


def _half(x: Tensor) -> Tensor:
    """Halves a map [B,C,h,w], rounding down; a single row or column stays one."""
    return F.max_pool2d(x, 2, ceil_mode=min(x.shape[-2:]) < 2)
