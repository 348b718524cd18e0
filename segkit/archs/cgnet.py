"""CGNet: A Light-weight Context Guided Network for Semantic Segmentation, Wu et al., IEEE TIP 2020,
https://arxiv.org/abs/1811.08201."""

from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segkit.constraints.named import PositiveFloat, PositiveInt
from segkit.models.bases import Backbone
from segkit.models.layers import IMAGENET_MEAN, IMAGENET_STD, per_channel
from segkit.registry import BACKBONES

EPS = 1e-3
"""Of every batch normalization, in the authors' code and in mmsegmentation."""


class NormPReLU(nn.Module):
    """Batch normalization and a PReLU with one slope per channel. State dict keys: bn.*, act.*.

    Args:
        channels: of input and output.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.bn = nn.BatchNorm2d(channels, eps=EPS)
        self.act = nn.PReLU(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Maps float [B,channels,h,w] to the same shape."""
        return self.act(self.bn(x))


def _conv(in_channels: int, channels: int, kernel: int = 3, *, stride: int = 1) -> nn.Sequential:
    """Convolution, batch normalization and PReLU."""
    conv = nn.Conv2d(in_channels, channels, kernel, stride, kernel // 2, bias=False)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    return nn.Sequential(conv, NormPReLU(channels))


class ContextGuided(nn.Module):
    """Context guided block: a pixel and its dilated surroundings are joined and gated by the image's mean.

    Section 3.1, figure 3.

    Args:
        in_channels: channels of the input.
        channels: channels of the output.
        dilation: of the surroundings.
        reduction: the gate has channels / reduction hidden units.
        down: halves the map; else the input is added to the result.
    """

    def __init__(self, in_channels: int, channels: int, *, dilation: int, reduction: int, down: bool = False):
        super().__init__()
        width = channels if down else channels // 2
        self.reduce = _conv(in_channels, width, 3 if down else 1, stride=2 if down else 1)
        self.local = nn.Conv2d(width, width, 3, padding=1, groups=width, bias=False)
        self.surrounding = nn.Conv2d(width, width, 3, padding=dilation, dilation=dilation, groups=width, bias=False)
        self.norm = NormPReLU(2 * width)
        self.project = nn.Conv2d(2 * width, channels, 1, bias=False) if down else None
        self.squeeze = nn.Linear(channels, max(channels // reduction, 1))
        self.excite = nn.Linear(max(channels // reduction, 1), channels)

    def forward(self, x: Tensor) -> Tensor:
        """Maps float [B,in_channels,h,w] to float [B,channels,h',w'], h' = h, or half of it rounded up."""
        reduced = self.reduce(x)
        joint = self.norm(torch.cat([self.local(reduced), self.surrounding(reduced)], 1))
        joint = joint if self.project is None else self.project(joint)
        gate = torch.sigmoid(self.excite(torch.relu(self.squeeze(joint.mean((2, 3))))))
        joint = joint * gate[:, :, None, None]
        return joint if self.project is not None else x + joint


@BACKBONES.register
class CGNet(Backbone):
    """CGNet: three convolutions and two stages of context guided blocks, each fed with the shrunk image as well.

    Section 3.2, figure 4, table 1. Gives maps of strides 2, 4 and 8.

    Args:
        in_channels: channels of the image.
        channels: widths of the three stages; the maps have channels[0] + in_channels, 2 channels[1] + in_channels and
            2 channels[2].
        blocks: context guided blocks of the last two stages; table 1's M and N.
        dilations: of the surroundings in these stages.
        reductions: of the gates in these stages.
        mean: mean of each image channel, in 0..255.
        std: standard deviation of each image channel, in 0..255.
    """

    order = "RGB"
    strides = (2, 4, 8)
    stem_stride = 2

    def __init__(
        self,
        in_channels: PositiveInt = 3,
        *,
        channels: tuple[PositiveInt, PositiveInt, PositiveInt] = (32, 64, 128),
        blocks: tuple[PositiveInt, PositiveInt] = (3, 21),
        dilations: tuple[PositiveInt, PositiveInt] = (2, 4),
        reductions: tuple[PositiveInt, PositiveInt] = (8, 16),
        mean: tuple[float, ...] = IMAGENET_MEAN,
        std: tuple[PositiveFloat, ...] = IMAGENET_STD,
    ):
        super().__init__()
        self.mean, self.std = per_channel(mean, in_channels), per_channel(std, in_channels)
        first, second, third = channels
        self.channels = (first + in_channels, 2 * second + in_channels, 2 * third)
        self.stem_channels = first
        self.stem = nn.Sequential(_conv(in_channels, first, stride=2), _conv(first, first), _conv(first, first))
        self.norms = nn.ModuleList(NormPReLU(width) for width in self.channels)
        stages = []
        for before, width, number, dilation, reduction in zip(
            self.channels, channels[1:], blocks, dilations, reductions
        ):
            first_block = ContextGuided(before, width, dilation=dilation, reduction=reduction, down=True)
            others = (ContextGuided(width, width, dilation=dilation, reduction=reduction) for _ in range(number - 1))
            stages.append(nn.Sequential(first_block, *others))
        self.stages = nn.ModuleList(stages)

    def forward(self, image: Tensor, stem_add: Tensor | None = None) -> list[Tensor]:
        """Computes the three maps.

        Args:
            image: float [B,in_channels,H,W], normalized.
            stem_add: float [B,channels[0],ceil(H / 2),ceil(W / 2)], added after the first convolution.

        Returns:
            Float [B,self.channels[i],ceil(H / strides[i]),ceil(W / strides[i])].
        """
        half = F.avg_pool2d(image, 3, 2, 1)
        shrunk = [half, F.avg_pool2d(half, 3, 2, 1)]
        x = self.stem[0](image)
        x = self.stem[1:](x if stem_add is None else x + stem_add)
        maps = [self.norms[0](torch.cat([x, shrunk[0]], 1))]
        x = maps[0]
        for i, stage in enumerate(cast(Sequence[nn.Sequential], self.stages)):
            start = stage[0](x)
            x = stage[1:](start)
            joined = [x, start, shrunk[1]] if i == 0 else [start, x]
            x = self.norms[i + 1](torch.cat(joined, 1))
            maps.append(x)
        return maps
