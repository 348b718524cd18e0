"""The two blocks of Large Kernel Matters, Peng et al., CVPR 2017, https://arxiv.org/abs/1703.02719, which ExFuse builds
upon."""

import torch.nn.functional as F
from torch import Tensor, nn


class GlobalConvolution(nn.Module):
    """A kernel x kernel convolution as the sum of two separable ones, rows first and columns first, without anything
    between (section 3.2, figure 2b): [B,in_channels,h,w] -> [B,channels,h,w]."""

    def __init__(self, in_channels: int, channels: int, kernel: int):
        super().__init__()
        if kernel % 2 == 0:
            raise ValueError(f"kernel = {kernel}: an odd one keeps scores in place")
        tall = dict(kernel_size=(kernel, 1), padding=(kernel // 2, 0))
        wide = dict(kernel_size=(1, kernel), padding=(0, kernel // 2))
        self.rows_first = nn.Sequential(nn.Conv2d(in_channels, channels, **tall), nn.Conv2d(channels, channels, **wide))
        self.columns_first = nn.Sequential(
            nn.Conv2d(in_channels, channels, **wide), nn.Conv2d(channels, channels, **tall)
        )

    def forward(self, x: Tensor) -> Tensor:
        """float [B,in_channels,h,w] -> float [B,channels,h,w]."""
        return self.rows_first(x) + self.columns_first(x)


class BoundaryRefinement(nn.Module):
    """Scores plus what two convolutions make of them (section 3.2, figure 2c): [B,K,h,w] -> the same."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """float [B,K,h,w] -> float [B,K,h,w]."""
        return x + self.conv2(F.relu(self.conv1(x)))
