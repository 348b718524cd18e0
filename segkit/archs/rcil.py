"""RCIL's head: MiB's DeepLabv3 head whose pyramid has two branches.

Zhang et al., Representation Compensation Networks for Continual Semantic Segmentation, CVPR 2022,
https://arxiv.org/abs/2203.05402, section 3.2.
"""

from typing import cast

import torch
from torch import Tensor, nn

from segkit.archs._mib_pyramid import SLOPE, MiBPyramidHead
from segkit.constraints.named import NonNegativeInt, PositiveInt
from segkit.models.two_branches import Branches, TwoBranches, mean_of_branches
from segkit.registry import HEADS


@HEADS.register
class TwoBranchMiBDeepLabHead(MiBPyramidHead, TwoBranches):
    """MiBDeepLabHead with a second branch of the pyramid's convolutions and their normalization.

    The normalized pyramid is the mean of both branches; in training a third of its channels each takes one of them
    alone. State-dict keys are the published ones.

    Args:
        in_channels, num_classes, channels, hidden, rates, pooling, level: as in MiBDeepLabHead.
    """

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
        super().__init__(
            in_channels, num_classes, channels=channels, hidden=hidden, rates=rates, pooling=pooling, level=level
        )
        pointwise, *dilated = (cast(nn.Conv2d, conv) for conv in self.map_convs)
        deep = pointwise.in_channels
        self.map_convs_new = nn.ModuleList([nn.Conv2d(deep, hidden, 1, bias=False)])
        self.map_convs_new.extend(
            nn.Conv2d(deep, hidden, 3, padding=rate, dilation=rate, bias=False) for rate in rates[: len(dilated)]
        )
        self.map_bn_new = nn.BatchNorm2d(hidden * len(self.map_convs_new))
        gain = nn.init.calculate_gain("leaky_relu", SLOPE)
        for conv in self.map_convs_new:
            nn.init.xavier_normal_(cast(nn.Conv2d, conv).weight, gain)

    def branches(self) -> list[Branches]:
        """Returns the layers of the pair of branches."""
        first = [cast(nn.Conv2d, conv) for conv in self.map_convs]
        second = [cast(nn.Conv2d, conv) for conv in self.map_convs_new]
        return [Branches(first, self.map_bn, second, self.map_bn_new)]

    def normalized_branches(self, x: Tensor) -> Tensor:
        """Computes the pyramid's convolutions side by side, normalized, the mean of both branches.

        Args:
            x: float [B,C,h,w].

        Returns:
            Float [B,n hidden,h,w] of n convolutions.
        """
        second = self.map_bn_new(torch.cat([conv(x) for conv in self.map_convs_new], dim=1))
        return mean_of_branches(super().normalized_branches(x), second, training=self.training)
