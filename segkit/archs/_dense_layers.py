"""Convolution layers of dense heads, which predict at every position of a feature pyramid.

Shape legend: B batch, h w features.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from segkit.models.layers import DeformableConv2d, bias_of


class Unit(nn.Module):
    """Convolution, without bias by default, optional group normalization, ReLU.

    State-dict keys: conv.*, norm.*.

    Args:
        in_channels: channels of the input.
        channels: channels of the output.
        groups: groups of the normalization; 0 leaves it out.
        kernel: side of the kernel.
        deformable: uses a modulated deformable convolution.
        bias: of the convolution where it is not deformable, 0 at first.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        groups: int = 0,
        *,
        kernel: int = 3,
        deformable: bool = False,
        bias: bool = False,
    ):
        super().__init__()
        self.conv: nn.Conv2d | DeformableConv2d
        if deformable:
            self.conv = DeformableConv2d(in_channels, channels, kernel, modulated=True)
        else:
            self.conv = nn.Conv2d(in_channels, channels, kernel, padding=kernel // 2, bias=bias)
            if bias:
                nn.init.zeros_(bias_of(self.conv))
        nn.init.normal_(self.conv.weight, std=0.01)
        self.norm = nn.GroupNorm(groups, channels) if groups else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Applies the layers.

        Args:
            x: float [B,in_channels,h,w].

        Returns:
            Float [B,channels,h,w].
        """
        return F.relu(self.norm(self.conv(x)))


def plain(in_channels: int, channels: int, kernel: int = 3) -> nn.Conv2d:
    """Builds the last convolution of a branch, with normal weights of standard deviation 0.01 and bias 0.

    Args:
        in_channels: channels of the input.
        channels: channels of the output.
        kernel: side of the kernel; the padding keeps the size.

    Returns:
        The convolution, float [B,in_channels,h,w] to float [B,channels,h,w].
    """
    conv = nn.Conv2d(in_channels, channels, kernel, padding=kernel // 2)
    nn.init.normal_(conv.weight, std=0.01)
    nn.init.zeros_(bias_of(conv))
    return conv
