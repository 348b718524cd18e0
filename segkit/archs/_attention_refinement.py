"""The attention refinement module of BiSeNet, Yu et al., ECCV 2018, https://arxiv.org/abs/1808.00897, section 3.2."""

import torch
from torch import Tensor, nn

from segkit.models.layers import ConvBNReLU


class AttentionRefinement(nn.Module):
    """A 3x3 convolution whose channels are weighted by a gate computed from their means.

    Args:
        in_channels: channels of the input.
        channels: channels of the output.
    """

    def __init__(self, in_channels: int, channels: int):
        super().__init__()
        self.conv = ConvBNReLU(in_channels, channels)
        self.gate = ConvBNReLU(channels, channels, 1, act=False)

    def forward(self, x: Tensor) -> Tensor:
        """Maps float [B,in_channels,h,w] to float [B,channels,h,w]."""
        x = self.conv(x)
        return x * torch.sigmoid(self.gate(x.mean((2, 3), keepdim=True)))
