"""The head of MiB, Cermelli et al., CVPR 2020, https://arxiv.org/abs/2002.00718: DeepLabv3 as In-Place ABN has it."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segkit.models.layers import at_level
from segkit.registry import HEADS

SLOPE = 0.01


@HEADS.register
class MiBDeepLabHead(nn.Module):
    """Atrous spatial pyramid pooling with one normalization over all branches, and the image's mean added at the end.

    The branches have no normalization of their own; after each normalization comes a leaky ReLU of slope 0.01. In
    training the image branch is the mean of the whole map; in evaluation the mean of a window of `pooling` cells
    around each position, which is the same where the map is no larger than the window.
    channels: of the embedding; hidden: of each branch; rates: 6, 12, 18 at output stride 16, 12, 24, 32 at 8;
    pooling: side or (rows, columns) of the window, the published 32 suits crops of 512; None: the whole map always.
    Keys are the published ones.
    """

    def __init__(
        self,
        in_channels: tuple[int, ...],
        num_classes: int,
        *,
        channels: int = 256,
        hidden: int = 256,
        rates: tuple[int, ...] = (6, 12, 18),
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

    def forward(self, features: list[Tensor]) -> dict[str, Tensor]:
        """features[i]: float [B,in_channels[i],h_i,w_i] -> logits [B,num_classes,h,w], embedding [B,channels,h,w]."""
        x = features[self.level]
        branches = torch.cat([conv(x) for conv in self.map_convs], dim=1)
        fused = self.red_conv(F.leaky_relu(self.map_bn(branches), SLOPE))
        window = F.leaky_relu(self.global_pooling_bn(self.global_pooling_conv(self.pool(x))), SLOPE)
        embedding = F.leaky_relu(self.red_bn(fused + self.pool_red_conv(window)), SLOPE)
        return {"logits": self.classifier(embedding), "embedding": embedding}

    def pool(self, x: Tensor) -> Tensor:
        """float [B,C,h,w] -> the mean float [B,C,1,1], or in evaluation with a window its means float [B,C,h,w]."""
        if self.training or self.pooling is None:
            return x.mean((2, 3), keepdim=True)
        return window_means(x, self.pooling)


def window_means(x: Tensor, window: tuple[int, int]) -> Tensor:
    """x: float [B,C,h,w]; window: (rows, columns), cut to the map's -> float [B,C,h,w]: the mean of the window around
    each position; beyond the border that of the nearest position whose window lies inside. Of an even window one row
    and column more lie below and to the right."""
    rows, columns = min(window[0], x.shape[2]), min(window[1], x.shape[3])
    means = F.avg_pool2d(x, (rows, columns), stride=1)
    return F.pad(means, ((columns - 1) // 2, columns // 2, (rows - 1) // 2, rows // 2), mode="replicate")
