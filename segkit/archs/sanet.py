"""Squeeze-and-Attention Networks for Semantic Segmentation (SANet), Zhong et al., CVPR 2020,
https://arxiv.org/abs/1909.03402."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segkit.models.layers import ConvBNReLU, at_level, resize
from segkit.registry import HEADS


class SqueezeAttention(nn.Module):
    """main * attention + attention, the attention being convolutions of the map at half its size (section 3.2, eq. 2
    and 3): [B,in_channels,h,w] -> [B,channels,h,w]. Unlike squeeze and excitation it has no sigmoid."""

    def __init__(self, in_channels: int, channels: int, *, align_corners: bool = False):
        super().__init__()
        self.align_corners = align_corners
        self.main = nn.Sequential(ConvBNReLU(in_channels, channels), ConvBNReLU(channels, channels))
        self.attention = nn.Sequential(ConvBNReLU(in_channels, channels), ConvBNReLU(channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        """float [B,in_channels,h,w] -> float [B,channels,h,w]."""
        attention = self.attention(F.avg_pool2d(x, 2, ceil_mode=True))
        attention = resize(attention, like=x, align_corners=self.align_corners)
        return self.main(x) * attention + attention


@HEADS.register
class SAHead(nn.Module):
    """A squeeze-and-attention block on each of several stages, beside a plain convolution of the deepest one.

    Section 3.3, figure 3. channels: of the plain branch; attention_channels: of each block; levels: of the blocks'
    maps. One 1x1 classifier over the concatenation is the sum of one classifier per branch. Output "presence", from the
    blocks' means, is for the loss ClassPresence (section 3.4). No code of the authors is public, and the paper leaves
    the blocks' widths open: no parity.
    """

    def __init__(
        self,
        in_channels: tuple[int, ...],
        num_classes: int,
        *,
        channels: int = 512,
        attention_channels: int = 64,
        levels: tuple[int, ...] = (-3, -2, -1),
        dropout: float = 0.1,
        align_corners: bool = False,
    ):
        super().__init__()
        self.levels = tuple(levels)
        self.align_corners = align_corners
        self.blocks = nn.ModuleList(
            SqueezeAttention(at_level(in_channels, level), attention_channels, align_corners=align_corners)
            for level in self.levels
        )
        self.plain = ConvBNReLU(in_channels[-1], channels)
        self.presence = nn.Linear(len(self.levels) * attention_channels, num_classes)
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = nn.Conv2d(len(self.levels) * attention_channels + channels, num_classes, 1)

    def forward(self, features: list[Tensor]) -> dict[str, Tensor]:
        """features[i]: float [B,in_channels[i],h_i,w_i] -> logits [B,num_classes,h,w] at the size of the first of the
        levels, embedding [B,C,h,w] and presence [B,num_classes], logits of each class's presence."""
        attended = [block(features[level]) for block, level in zip(self.blocks, self.levels)]
        maps = [
            resize(x, like=attended[0], align_corners=self.align_corners) for x in (*attended, self.plain(features[-1]))
        ]
        embedding = self.dropout(torch.cat(maps, dim=1))
        presence = self.presence(torch.cat([x.mean((2, 3)) for x in attended], dim=1))
        return {"logits": self.classifier(embedding), "embedding": embedding, "presence": presence}
