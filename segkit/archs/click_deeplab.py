"""Reviving Iterative Training with Mask Guidance, Sofiiuk et al., 2021, https://arxiv.org/abs/2102.06583.

Its DeepLabv3+ networks (https://arxiv.org/abs/1802.02611), in which decoder and prediction are separate.
"""

import torch
from torch import Tensor, nn

from segkit.constraints.named import Decay, PositiveInt
from segkit.models.bases import Head
from segkit.models.layers import ASPP, ConvBNReLU, DepthwiseSeparable, at_level, resize
from segkit.registry import HEADS
from segkit.types import Outputs


@HEADS.register
class ClickDeepLabHead(Head):
    """RITM's DeepLabv3+ head: atrous pyramid, decoder with an early map, then separable convolutions of half the width.

    The pyramid reads the deepest map. The decoder concatenates its result with a reduced early map and applies two
    separable convolutions and a linear one. Two separable convolutions of half the width follow before the classifier.
    f-BRS can scale and shift the deepest map (A), the concatenated maps (B) or the decoder's result (C).

    Args:
        in_channels: channels of each feature map.
        num_classes: number of classes K.
        channels: width of pyramid and decoder.
        rates: dilations of the pyramid's 3x3 convolutions.
        low_level: early map of the decoder, counted from the end.
        low_channels: width that the early map is reduced to.
        dropout: probability of dropping an element after the pyramid.
        align_corners: whether bilinear resizing aligns the corner pixels.
    """

    scale_points = {"A": ("deep",), "B": ("joined",), "C": ("decoder",)}

    def __init__(
        self,
        in_channels: tuple[int, ...],
        num_classes: int,
        *,
        channels: PositiveInt = 256,
        rates: tuple[PositiveInt, ...] = (12, 24, 36),
        low_level: int = -4,
        low_channels: PositiveInt = 32,
        dropout: Decay = 0.5,
        align_corners: bool = True,
    ):
        super().__init__()
        self.low_level = low_level
        self.align_corners = align_corners
        self.deep, self.joined = nn.Identity(), nn.Identity()
        self.aspp = ASPP(in_channels[-1], channels, rates)
        self.fuse = ConvBNReLU((len(rates) + 2) * channels, channels, 1)
        self.dropout = nn.Dropout(dropout)
        self.low = ConvBNReLU(at_level(in_channels, low_level), low_channels, 1)
        # The authors have neither normalization nor ReLU after the decoder's last convolution.
        self.decoder = nn.Sequential(*_separables(channels + low_channels, channels), nn.Conv2d(channels, channels, 1))
        self.embed = nn.Sequential(*_separables(channels, channels // 2))
        self.classifier = nn.Conv2d(channels // 2, num_classes, 1)

    def forward(self, features: list[Tensor]) -> Outputs:
        """Predicts class logits.

        Args:
            features: feature maps, float [B,in_channels[i],h_i,w_i].

        Returns:
            "logits", float [B,K,h,w], and "embedding", float [B,channels / 2,h,w], the input of the classifier; both
            have the early map's size.
        """
        low = self.low(features[self.low_level])
        deep = self.deep(features[-1])
        deep = self.dropout(self.fuse.over_concat(self.aspp(deep), like=deep))
        deep = resize(deep, like=low, align_corners=self.align_corners)
        embedding = self.embed(self.decoder(self.joined(torch.cat([deep, low], dim=1))))
        return {"logits": self.classifier(embedding), "embedding": embedding}


def _separables(in_channels: int, channels: int) -> list[nn.Module]:
    return [DepthwiseSeparable(width, channels, depthwise_norm=False) for width in (in_channels, channels)]
