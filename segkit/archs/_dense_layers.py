"""Convolutions of heads that predict at every place of a pyramid. B images, h w map."""

import torch.nn.functional as F
from torch import Tensor, nn

from segkit.models.layers import DeformableConv2d


class Unit(nn.Module):
    """Convolution without bias, group normalization where groups are given, ReLU. Keys: conv.*, norm.*."""

    def __init__(self, in_channels: int, channels: int, groups: int = 0, *, kernel: int = 3, deformable: bool = False):
        super().__init__()
        if deformable:
            self.conv = DeformableConv2d(in_channels, channels, kernel, modulated=True)
        else:
            self.conv = nn.Conv2d(in_channels, channels, kernel, padding=kernel // 2, bias=False)
        nn.init.normal_(self.conv.weight, std=0.01)
        self.norm = nn.GroupNorm(groups, channels) if groups else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """float [B,in_channels,h,w] -> float [B,channels,h,w]."""
        return F.relu(self.norm(self.conv(x)))


def plain(in_channels: int, channels: int, kernel: int = 3) -> nn.Conv2d:
    """The last convolution of a branch, with small weights: float [B,in_channels,h,w] -> float [B,channels,h,w]."""
    conv = nn.Conv2d(in_channels, channels, kernel, padding=kernel // 2)
    nn.init.normal_(conv.weight, std=0.01)
    nn.init.zeros_(conv.bias)
    return conv
