"""Reviving Iterative Training with Mask Guidance, Sofiiuk et al., 2021, https://arxiv.org/abs/2102.06583.

Its DeepLabv3+ networks (https://arxiv.org/abs/1802.02611), whose decoder and prediction are apart.
"""

import torch
from torch import Tensor, nn

from segkit.models.layers import ASPP, ConvBNReLU, DepthwiseSeparable, at_level, resize
from segkit.registry import HEADS


@HEADS.register
class ClickDeepLabHead(nn.Module):
    """Atrous pyramid on the deepest map, joined with a reduced early map, two separable convolutions and a linear one
    (the decoder), then two separable convolutions of half the width before the classifier.

    channels: of pyramid and decoder; dropout: after the pyramid; low_level, low_channels: the early map and the width
    it is reduced to. scale_points: where f-BRS scales and shifts channels, by its letter.
    """

    scale_points = {"A": ("deep",), "B": ("joined",), "C": ("decoder",)}

    def __init__(
        self,
        in_channels: tuple[int, ...],
        num_classes: int,
        *,
        channels: int = 256,
        rates: tuple[int, ...] = (12, 24, 36),
        low_level: int = -4,
        low_channels: int = 32,
        dropout: float = 0.5,
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
        # the authors put nothing behind the decoder's last convolution: the next one is depthwise
        self.decoder = nn.Sequential(*_separables(channels + low_channels, channels), nn.Conv2d(channels, channels, 1))
        self.embed = nn.Sequential(*_separables(channels, channels // 2))
        self.classifier = nn.Conv2d(channels // 2, num_classes, 1)

    def forward(self, features: list[Tensor]) -> dict[str, Tensor]:
        """features[i]: float [B,in_channels[i],h_i,w_i] -> logits [B,K,h,w] and embedding [B,channels / 2,h,w] at the
        early map's size."""
        low = self.low(features[self.low_level])
        deep = self.deep(features[-1])
        deep = self.dropout(self.fuse.over_concat(self.aspp(deep), like=deep))
        deep = resize(deep, like=low, align_corners=self.align_corners)
        embedding = self.embed(self.decoder(self.joined(torch.cat([deep, low], dim=1))))
        return {"logits": self.classifier(embedding), "embedding": embedding}


def _separables(in_channels: int, channels: int) -> list[nn.Module]:
    return [DepthwiseSeparable(width, channels, depthwise_norm=False) for width in (in_channels, channels)]
