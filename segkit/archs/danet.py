"""Dual Attention Network for Scene Segmentation (DANet), Fu et al., CVPR 2019, https://arxiv.org/abs/1809.02983."""

import torch
from torch import Tensor, nn

from segkit.constraints.named import Decay, PositiveInt
from segkit.models.attention_layers import SelfAttention2d, project
from segkit.models.bases import Head
from segkit.models.layers import ConvBNReLU, at_level, in_float32
from segkit.registry import HEADS
from segkit.types import Outputs


class PositionAttention(SelfAttention2d):
    """Position attention: self-attention over positions with unscaled products, scaled by gamma, plus the input.

    Section 3.2, eq. 1 and 2. gamma is learned and starts at 0.

    Args:
        channels: channels of input and output.
        compared: channels of queries and keys.
    """

    def __init__(self, channels: int, compared: int):
        query, key = project(channels, compared, norm=False), project(channels, compared, norm=False)
        super().__init__(query, key, project(channels, channels, norm=False))
        self.gamma = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Applies the attention.

        Args:
            x: float [B,channels,h,w].
            context: float [B,channels,m,n], the map that gives keys and values; None is x.

        Returns:
            Float [B,channels,h,w].
        """
        return self.gamma * super().forward(x, context) + x


class ChannelAttention(nn.Module):
    """Channel attention: self-attention over channels, scaled by gamma, plus the input (section 3.3, eq. 3 and 4).

    gamma is learned and starts at 0.
    """

    def __init__(self) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        """Applies the attention.

        Args:
            x: float [B,C,h,w].

        Returns:
            Float [B,C,h,w].
        """
        # Products are sums over all positions, which half precision cannot hold.
        with in_float32(x):
            flat = x.float().flatten(2)
            product = torch.matmul(flat, flat.transpose(1, 2))
            # The authors' code subtracts each product from the largest, so that unlike channels attend to each other;
            # the paper's eq. 3 has the product itself.
            weight = (product.amax(dim=2, keepdim=True) - product).softmax(dim=2)
            mixed = torch.matmul(weight, flat).view_as(x)
        return self.gamma * mixed.to(x.dtype) + x


@HEADS.register
class DAHead(Head):
    """Dual attention head: position and channel attention side by side, summed and classified.

    Each branch is also classified alone, for losses on "pam.logits" and "cam.logits" (section 3.1, figure 2).

    Args:
        in_channels: channels of each feature map.
        num_classes: number of classes K.
        channels: width of both branches.
        position_channels: channels of the position attention's queries and keys; None is an eighth of channels.
        dropout: share of channels dropped before the classifiers.
        level: map that the head reads, counted from the end; -1 is the deepest.
    """

    def __init__(
        self,
        in_channels: tuple[int, ...],
        num_classes: int,
        *,
        channels: PositiveInt = 512,
        position_channels: PositiveInt | None = None,
        dropout: Decay = 0.1,
        level: int = -1,
    ):
        super().__init__()
        self.level = level
        width = at_level(in_channels, level)
        self.pam_in, self.cam_in = ConvBNReLU(width, channels), ConvBNReLU(width, channels)
        self.pam = PositionAttention(channels, position_channels or channels // 8)
        self.cam = ChannelAttention()
        self.pam_out, self.cam_out = ConvBNReLU(channels, channels), ConvBNReLU(channels, channels)
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = nn.Conv2d(channels, num_classes, 1)
        self.pam_classifier = nn.Conv2d(channels, num_classes, 1)
        self.cam_classifier = nn.Conv2d(channels, num_classes, 1)

    def forward(self, features: list[Tensor]) -> Outputs:
        """Predicts class logits from both branches together and from each alone.

        Args:
            features: feature maps, float [B,in_channels[i],h_i,w_i].

        Returns:
            "logits", "pam.logits" and "cam.logits", float [B,K,h,w], and "embedding", float [B,channels,h,w], the input
            of the classifier.
        """
        x = features[self.level]
        by_position = self.pam_out(self.pam(self.pam_in(x)))
        by_channel = self.cam_out(self.cam(self.cam_in(x)))
        embedding = self.dropout(by_position + by_channel)
        return {
            "logits": self.classifier(embedding),
            "embedding": embedding,
            "pam.logits": self.pam_classifier(self.dropout(by_position)),
            "cam.logits": self.cam_classifier(self.dropout(by_channel)),
        }
