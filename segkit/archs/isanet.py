"""Interlaced Sparse Self-Attention (ISANet), Huang et al., 2019, https://arxiv.org/abs/1907.12273."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segkit.models.attention_layers import SelfAttention2d, project
from segkit.models.layers import ConvBNReLU, at_level
from segkit.registry import HEADS


@HEADS.register
class ISAHead(nn.Module):
    """Attention first among positions a window apart, then within each window: together every position reaches every
    other at a fraction of the memory (section 3.2, figure 3).

    channels: of the map; attention_channels: that are compared; window: (rows, columns) of a window, in positions; a
    map that is no multiple of it is padded with zeros on all sides, which take part in the attention as in the
    authors' code.
    """

    def __init__(
        self,
        in_channels: tuple[int, ...],
        num_classes: int,
        *,
        channels: int = 512,
        attention_channels: int = 256,
        window: tuple[int, int] = (8, 8),
        dropout: float = 0.1,
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

    def forward(self, features: list[Tensor]) -> dict[str, Tensor]:
        """features[i]: float [B,in_channels[i],h_i,w_i] -> logits [B,K,h,w], embedding [B,channels,h,w]."""
        x = self.reduce(features[self.level])
        embedding = self.dropout(self.fuse(torch.cat([self.interlace(x), x], dim=1)))
        return {"logits": self.classifier(embedding), "embedding": embedding}

    def interlace(self, x: Tensor) -> Tensor:
        """float [B,channels,h,w] -> float [B,channels,h,w], after both attentions."""
        batch, channels, height, width = x.shape
        rows, columns = self.window
        bottom, right = -height % rows, -width % columns
        top, left = bottom // 2, right // 2
        x = F.pad(x, (left, right - left, top, bottom - top))
        down, across = x.shape[2] // rows, x.shape[3] // columns
        # Position (i, j) of every window, together a map of one value per window.
        x = x.reshape(batch, channels, down, rows, across, columns).permute(0, 3, 5, 1, 2, 4)
        x = self.far(x.reshape(-1, channels, down, across))
        x = x.reshape(batch, rows, columns, channels, down, across).permute(0, 4, 5, 3, 1, 2)
        x = self.near(x.reshape(-1, channels, rows, columns))
        x = x.reshape(batch, down, across, channels, rows, columns).permute(0, 3, 1, 4, 2, 5)
        x = x.reshape(batch, channels, down * rows, across * columns)
        return x[:, :, top : top + height, left : left + width]


def _attention(channels: int, compared: int) -> SelfAttention2d:
    query, key = project(channels, compared, 2), project(channels, compared, 2)
    value, out = project(channels, channels, norm=False), project(channels, channels)
    return SelfAttention2d(query, key, value, out, scale=compared**-0.5)
