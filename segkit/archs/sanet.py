"""Squeeze-and-Attention Networks for Semantic Segmentation (SANet), Zhong et al., CVPR 2020,
https://arxiv.org/abs/1909.03402."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segkit.constraints.named import Decay, PositiveInt
from segkit.models.bases import Head
from segkit.models.layers import ConvBNReLU, at_level, resize
from segkit.registry import HEADS
from segkit.types import Outputs


class SqueezeAttention(nn.Module):
    """Squeeze-and-attention block: main * attention + attention, the attention computed at half the size.

    Section 3.2, eq. 2 and 3. Both branches are two convolutions of the map. Unlike squeeze-and-excitation, the
    attention has no sigmoid.

    Args:
        in_channels: channels of the input.
        channels: channels of the output.
        align_corners: aligns the corner cells when the attention is resized.
    """

    def __init__(self, in_channels: int, channels: int, *, align_corners: bool = False):
        super().__init__()
        self.align_corners = align_corners
        self.main = nn.Sequential(ConvBNReLU(in_channels, channels), ConvBNReLU(channels, channels))
        self.attention = nn.Sequential(ConvBNReLU(in_channels, channels), ConvBNReLU(channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        """Applies the block.

        Args:
            x: float [B,in_channels,h,w].

        Returns:
            Float [B,channels,h,w].
        """
        attention = self.attention(F.avg_pool2d(x, 2, ceil_mode=True))
        attention = resize(attention, like=x, align_corners=self.align_corners)
        return self.main(x) * attention + attention


@HEADS.register
class SAHead(Head):
    """SANet head: squeeze-and-attention blocks on several stages, beside a plain convolution of the deepest one.

    Section 3.3, figure 3. One 1x1 classifier over the concatenation equals the sum of one classifier per branch. The
    output "presence", from the means of the blocks, is for the loss ClassPresence (section 3.4).

    The authors published no code, and the paper leaves the widths of the blocks open, so there is no parity.

    Args:
        in_channels: channels of each feature map.
        num_classes: number of classes K.
        channels: width of the plain branch.
        attention_channels: width of each block.
        levels: maps that the blocks read, counted from the end.
        dropout: share of channels dropped before the classifier.
        align_corners: aligns the corner cells when maps are resized.
    """

    predicts = ("presence",)

    def __init__(
        self,
        in_channels: tuple[int, ...],
        num_classes: int,
        *,
        channels: PositiveInt = 512,
        attention_channels: PositiveInt = 64,
        levels: tuple[int, ...] = (-3, -2, -1),
        dropout: Decay = 0.1,
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

    def forward(self, features: list[Tensor]) -> Outputs:
        """Predicts class logits and the presence of each class.

        Args:
            features: feature maps, float [B,in_channels[i],h_i,w_i].

        Returns:
            "logits", float [B,K,h,w], and "embedding", float [B,C,h,w], the input of the classifier, at the size of
            the first of levels; "presence", float [B,K], logits of the presence of each class.
        """
        attended = [block(features[level]) for block, level in zip(self.blocks, self.levels)]
        maps = [
            resize(x, like=attended[0], align_corners=self.align_corners) for x in (*attended, self.plain(features[-1]))
        ]
        embedding = self.dropout(torch.cat(maps, dim=1))
        presence = self.presence(torch.cat([x.mean((2, 3)) for x in attended], dim=1))
        return {"logits": self.classifier(embedding), "embedding": embedding, "presence": presence}
