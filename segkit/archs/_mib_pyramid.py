"""The layers of MiB's DeepLabv3 head, which its own head and RCIL's share. B batch, K classes, h w cells."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segkit.constraints.named import NonNegativeInt, PositiveInt
from segkit.models.bases import Head
from segkit.models.layers import at_level
from segkit.ops.resizing import interval_means, is_free
from segkit.types import Outputs

SLOPE = 0.01
"""Negative slope of every leaky ReLU."""


class MiBPyramidHead(Head):
    """See mib_deeplab.MiBDeepLabHead."""

    def __init__(
        self,
        in_channels: tuple[int, ...],
        num_classes: int,
        *,
        channels: PositiveInt = 256,
        hidden: NonNegativeInt = 256,
        rates: tuple[PositiveInt, ...] = (6, 12, 18),
        pooling: int | tuple[int, int] | None = 32,
        level: int = -1,
    ):
        super().__init__()
        deep = at_level(in_channels, level)
        self.level = level
        self.pooling = (pooling, pooling) if isinstance(pooling, int) else pooling
        pointwise = nn.Conv2d(deep, hidden, 1, bias=False)
        dilated = (nn.Conv2d(deep, hidden, 3, padding=rate, dilation=rate, bias=False) for rate in rates)
        self.map_convs = nn.ModuleList([pointwise, *dilated])
        width = hidden * len(self.map_convs)
        self.map_bn = nn.BatchNorm2d(width)
        self.global_pooling_conv = nn.Conv2d(deep, hidden, 1, bias=False)
        self.global_pooling_bn = nn.BatchNorm2d(hidden)
        self.red_conv = nn.Conv2d(width, channels, 1, bias=False)
        self.pool_red_conv = nn.Conv2d(hidden, channels, 1, bias=False)
        self.red_bn = nn.BatchNorm2d(channels)
        gain = nn.init.calculate_gain("leaky_relu", SLOPE)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.xavier_normal_(module.weight, gain)
        self.classifier = nn.Conv2d(channels, num_classes, 1)

    def forward(self, features: list[Tensor]) -> Outputs:
        """Predicts class logits.

        Args:
            features: feature maps, float [B,in_channels[i],h_i,w_i].

        Returns:
            "logits", float [B,K,h,w], and "embedding", float [B,channels,h,w], the input of the classifier.
        """
        x = features[self.level]
        fused = self.red_conv(F.leaky_relu(self.normalized_branches(x), SLOPE))
        window = F.leaky_relu(self.global_pooling_bn(self.global_pooling_conv(self.pool(x))), SLOPE)
        embedding = F.leaky_relu(self.red_bn(fused + self.pool_red_conv(window)), SLOPE)
        return {"logits": self.classifier(embedding), "embedding": embedding}

    def normalized_branches(self, x: Tensor) -> Tensor:
        """Computes all convolutions of the pyramid side by side, normalized but not activated.

        Args:
            x: float [B,C,h,w].

        Returns:
            Float [B,n hidden,h,w] of n convolutions.
        """
        return self.map_bn(torch.cat([conv(x) for conv in self.map_convs], dim=1))

    def pool(self, x: Tensor) -> Tensor:
        """Averages the map for the image-level feature.

        Args:
            x: float [B,C,h,w].

        Returns:
            Float [B,C,1,1], the mean of the map; in evaluation with a window float [B,C,h,w], the means of the
            windows.
        """
        if self.training or self.pooling is None:
            return x.mean((2, 3), keepdim=True)
        return window_means(x, self.pooling)


def window_means(x: Tensor, window: tuple[int, int]) -> Tensor:
    """Averages a window around each position.

    Where the window reaches beyond the map, the position takes the mean of the nearest window that lies inside. A
    window of even side holds one row or column more below and to the right of its position.

    Args:
        x: float [B,C,h,w].
        window: (rows, columns) in cells, cut to the size of the map.

    Returns:
        Float [B,C,h,w].
    """
    if is_free(*x.shape[2:]):
        along_height, along_width = (_means_matrix(side, length, x) for side, length in zip(x.shape[2:], window))
        return torch.matmul(torch.matmul(along_height, x), along_width.t())
    rows, columns = min(window[0], x.shape[2]), min(window[1], x.shape[3])
    means = F.avg_pool2d(x, (rows, columns), stride=1)
    return F.pad(means, ((columns - 1) // 2, columns // 2, (rows - 1) // 2, rows // 2), mode="replicate")


def _means_matrix(side: int, window: int, like: Tensor) -> Tensor:
    """The same along one axis, as a matrix [side,side]: no branch depends on a side that torch.export leaves open."""
    positions = torch.arange(side, device=like.device)
    length = (positions < window).sum()
    first = torch.minimum((positions - (length - 1) // 2).clamp(min=0), side - length)
    return interval_means(first, first + length, side, like)
