"""Asymmetric Non-local Neural Networks (ANN), Zhu et al., ICCV 2019, https://arxiv.org/abs/1908.07678."""

import torch
from torch import Tensor, nn

from segkit.constraints.named import Decay, PositiveInt
from segkit.models.attention_layers import SelfAttention2d, project, start_at_zero
from segkit.models.bases import Head
from segkit.models.layers import ConvBNReLU, at_level
from segkit.registry import HEADS
from segkit.types import Outputs


@HEADS.register
class ANNHead(Head):
    """Asymmetric non-local head: cross-attention between the two deepest maps, then self-attention on the result.

    The asymmetric fusion block lets the deepest map attend to the map before it (section 3.3); the asymmetric pyramid
    block lets the fused map attend to itself (section 3.2). In both, keys and values are sampled at a few pyramid
    points, 110 by default, in place of all positions (section 3.1, figure 4).

    Args:
        in_channels: channels of each feature map.
        num_classes: number of classes K.
        channels: width after the fusion.
        attention_channels: channels of queries, keys and values.
        bins: sides of the pyramid's grids; the mean of each cell is one point.
        dropout: share of channels dropped after the fusion and before the classifier.
        level: map that gives the queries of the fusion, counted from the end; -1 is the deepest.
        low_level: map that gives the keys and values of the fusion.
    """

    def __init__(
        self,
        in_channels: tuple[int, ...],
        num_classes: int,
        *,
        channels: PositiveInt = 512,
        attention_channels: PositiveInt = 256,
        bins: tuple[PositiveInt, ...] = (1, 3, 6, 8),
        dropout: Decay = 0.1,
        level: int = -1,
        low_level: int = -2,
    ):
        super().__init__()
        self.level, self.low_level = level, low_level
        high, low = at_level(in_channels, level), at_level(in_channels, low_level)
        inner, scale = attention_channels, attention_channels**-0.5
        self.fusion = SelfAttention2d(
            project(high, inner),
            project(low, inner),
            project(low, inner, norm=False),
            _out(inner, high),
            scale=scale,
            bins=bins,
        )
        self.fusion_merge = ConvBNReLU(2 * high, high, 1, act=False)
        self.fusion_dropout = nn.Dropout2d(dropout)
        self.reduce = ConvBNReLU(high, channels)
        self.context = SelfAttention2d(
            project(channels, inner),
            None,
            project(channels, inner, norm=False),
            _out(inner, channels),
            scale=scale,
            bins=bins,
        )
        self.context_merge = ConvBNReLU(2 * channels, channels, 1)
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = nn.Conv2d(channels, num_classes, 1)

    def forward(self, features: list[Tensor]) -> Outputs:
        """Predicts class logits.

        Args:
            features: feature maps, float [B,in_channels[i],h_i,w_i].

        Returns:
            "logits", float [B,K,h,w], and "embedding", float [B,channels,h,w], the input of the classifier; both have
            the size of the map at `level`.
        """
        high, low = features[self.level], features[self.low_level]
        fused = self.fusion_merge(torch.cat([self.fusion(high, low), high], dim=1))
        x = self.reduce(self.fusion_dropout(fused))
        embedding = self.dropout(self.context_merge(torch.cat([self.context(x), x], dim=1)))
        return {"logits": self.classifier(embedding), "embedding": embedding}


def _out(in_channels: int, channels: int) -> nn.Conv2d:
    return start_at_zero(nn.Conv2d(in_channels, channels, 1))
