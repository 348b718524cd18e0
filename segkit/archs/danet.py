"""Dual Attention Network for Scene Segmentation (DANet), Fu et al., CVPR 2019, https://arxiv.org/abs/1809.02983."""

import torch
from torch import Tensor, nn

from segkit.models.attention_layers import SelfAttention2d, project
from segkit.models.layers import ConvBNReLU, at_level, in_float32
from segkit.registry import HEADS


class PositionAttention(SelfAttention2d):
    """gamma * attention over positions, products unscaled, + x (section 3.2, eq. 1 and 2): [B,channels,h,w] -> the
    same. compared: channels of query and key. gamma starts at 0."""

    def __init__(self, channels: int, compared: int):
        query, key = project(channels, compared, norm=False), project(channels, compared, norm=False)
        super().__init__(query, key, project(channels, channels, norm=False))
        self.gamma = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """float [B,channels,h,w] -> float [B,channels,h,w]."""
        return self.gamma * super().forward(x, context) + x


class ChannelAttention(nn.Module):
    """gamma * attention over channels + x (section 3.3, eq. 3 and 4): [B,C,h,w] -> the same. gamma starts at 0."""

    def __init__(self):
        super().__init__()
        self.gamma = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        """float [B,C,h,w] -> float [B,C,h,w]."""
        # Products are sums over all positions, more than half precision holds.
        with in_float32(x):
            flat = x.float().flatten(2)
            product = torch.matmul(flat, flat.transpose(1, 2))
            # The authors' code takes the largest product minus each, so that unlike channels attend to each other;
            # the paper's eq. 3 has the product itself.
            weight = (product.amax(dim=2, keepdim=True) - product).softmax(dim=2)
            mixed = torch.matmul(weight, flat).view_as(x)
        return self.gamma * mixed.to(x.dtype) + x


@HEADS.register
class DAHead(nn.Module):
    """Position attention and channel attention side by side, summed and classified; each is classified on its own as
    well, for losses on "pam.logits" and "cam.logits" (section 3.1, figure 2).

    channels: of both branches; position_channels: that positions are compared by, None for an eighth.
    """

    def __init__(
        self,
        in_channels: tuple[int, ...],
        num_classes: int,
        *,
        channels: int = 512,
        position_channels: int | None = None,
        dropout: float = 0.1,
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

    def forward(self, features: list[Tensor]) -> dict[str, Tensor]:
        """features[i]: float [B,in_channels[i],h_i,w_i] -> logits, pam.logits, cam.logits [B,K,h,w] and embedding
        [B,channels,h,w]."""
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
