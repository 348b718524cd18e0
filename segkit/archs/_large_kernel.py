"""The two blocks of Large Kernel Matters (GCN), which ExFuse uses too.

Peng et al., CVPR 2017, https://arxiv.org/abs/1703.02719.
"""

import torch.nn.functional as F
from torch import Tensor, nn


class GlobalConvolution(nn.Module):
    """Global convolution: a kernel x kernel convolution as the sum of two separable ones.

    One branch convolves with a column first, the other with a row first; there is no nonlinearity between the
    convolutions (section 3.2, figure 2b).

    Args:
        in_channels: channels of the input.
        channels: channels of the output.
        kernel: odd length of the columns and rows.

    Raises:
        ValueError: kernel is even.
    """

    def __init__(self, in_channels: int, channels: int, kernel: int):
        super().__init__()
        if kernel % 2 == 0:
            raise ValueError(f"kernel = {kernel}: must be odd, so that scores keep their position")
        column, row = (kernel, 1), (1, kernel)
        along_column, along_row = (kernel // 2, 0), (0, kernel // 2)
        self.rows_first = nn.Sequential(
            nn.Conv2d(in_channels, channels, column, padding=along_column),
            nn.Conv2d(channels, channels, row, padding=along_row),
        )
        self.columns_first = nn.Sequential(
            nn.Conv2d(in_channels, channels, row, padding=along_row),
            nn.Conv2d(channels, channels, column, padding=along_column),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Applies both branches and adds their results.

        Args:
            x: float [B,in_channels,h,w].

        Returns:
            Float [B,channels,h,w].
        """
        return self.rows_first(x) + self.columns_first(x)


class BoundaryRefinement(nn.Module):
    """Boundary refinement: a residual block of two 3x3 convolutions on score maps (section 3.2, figure 2c).

    Args:
        channels: channels of the score map.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Refines a score map.

        Args:
            x: float [B,channels,h,w] scores.

        Returns:
            Float [B,channels,h,w], x plus the result of the two convolutions.
        """
        return x + self.conv2(F.relu(self.conv1(x)))
