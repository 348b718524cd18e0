"""Interlaced Sparse Self-Attention (ISANet), Huang et al., 2019, https://arxiv.org/abs/1907.12273."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segkit.constraints.named import Decay, PositiveInt
from segkit.models.attention_layers import SelfAttention2d, project
from segkit.models.bases import Head
from segkit.models.layers import ConvBNReLU, at_level
from segkit.registry import HEADS
from segkit.types import Outputs


@HEADS.register
class ISAHead(Head):
    """Interlaced sparse self-attention head: attends among positions a window apart, then within each window.

    Together every position reaches every other at a fraction of the memory of full attention (section 3.2, figure 3).

    Args:
        in_channels: channels of each feature map.
        num_classes: number of classes K.
        channels: width of the reduced map and of the embedding.
        attention_channels: channels of queries and keys.
        window: (rows, columns) of a window, in positions. A map that is no multiple of it is padded with zeros on
            all sides, which take part in the attention as in the authors' code.
        dropout: share of channels dropped before the classifier.
        level: map that the head reads, counted from the end; -1 is the deepest.
    """

    def __init__(
        self,
        in_channels: tuple[int, ...],
        num_classes: int,
        *,
        channels: PositiveInt = 512,
        attention_channels: PositiveInt = 256,
        window: tuple[PositiveInt, PositiveInt] = (8, 8),
        dropout: Decay = 0.1,
        level: int = -1,
    ):
        super().__init__()
        self.level = level
        self.window = tuple(window)
        self.reduce = ConvBNReLU(at_level(in_channels, level), channels)
        self.far = _attention(channels, attention_channels)
        self.near = _attention(channels, attention_channels)
        self.fuse = ConvBNReLU(2 * channels, channels, 1)
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = nn.Conv2d(channels, num_classes, 1)

    def forward(self, features: list[Tensor]) -> Outputs:
        """Predicts class logits.

        Args:
            features: feature maps, float [B,in_channels[i],h_i,w_i].

        Returns:
            "logits", float [B,K,h,w], and "embedding", float [B,channels,h,w], the input of the classifier.
        """
        x = self.reduce(features[self.level])
        embedding = self.dropout(self.fuse(torch.cat([self.interlace(x), x], dim=1)))
        return {"logits": self.classifier(embedding), "embedding": embedding}

    def interlace(self, x: Tensor) -> Tensor:
        """Applies the attention over long, then over short distances.

        Args:
            x: float [B,channels,h,w].

        Returns:
            Float [B,channels,h,w].
        """
        batch, channels, height, width = x.shape
        rows, columns = self.window
        bottom, right = -height % rows, -width % columns
        top, left = bottom // 2, right // 2
        x = F.pad(x, (left, right - left, top, bottom - top))
        down, across = x.shape[2] // rows, x.shape[3] // columns
        # Positions (i, j) of all windows form a map with one value per window.
        x = x.reshape(batch, channels, down, rows, across, columns).permute(0, 3, 5, 1, 2, 4)
        x = self.far(x.reshape(-1, channels, down, across))
        x = x.reshape(batch, rows, columns, channels, down, across).permute(0, 4, 5, 3, 1, 2)
        x = self.near(x.reshape(-1, channels, rows, columns))
        x = x.reshape(batch, down, across, channels, rows, columns).permute(0, 3, 1, 4, 2, 5)
        x = x.reshape(batch, channels, down * rows, across * columns)
        return x[:, :, top : top + height, left : left + width]


def _attention(channels: int, key_channels: int) -> SelfAttention2d:
    query = project(channels, key_channels, 2)
    key = project(channels, key_channels, 2)
    value = project(channels, channels, norm=False)
    out = project(channels, channels)
    return SelfAttention2d(query, key, value, out, scale=key_channels**-0.5)
