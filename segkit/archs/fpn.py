"""Feature Pyramid Networks, Lin et al., CVPR 2017, https://arxiv.org/abs/1612.03144."""

import torch.nn.functional as F
from torch import Tensor, nn

from segkit.models.layers import ConvBNReLU, at_level, resize
from segkit.registry import NECKS


@NECKS.register
class FPN(nn.Module):
    """The deep maps, each added to the one above it at twice its size (nearest), as maps of one width (section 3).

    channels: of every map; num_levels: how many of the backbone's maps take part, counted from the deepest;
    output_convs: whether each sum passes a 3x3 convolution (segmentation_models has none); extra_levels: maps behind
    the deepest, each of half the size of the one before: its every second place (section 4.1), or with extra_convs a
    3x3 convolution of stride 2 (RetinaNet, Lin et al., ICCV 2017, section 4, and FCOS), whose input passes a ReLU from
    the second on.
    """

    def __init__(
        self,
        in_channels: tuple[int, ...],
        strides: tuple[int, ...],
        *,
        channels: int = 256,
        num_levels: int = 4,
        output_convs: bool = True,
        extra_levels: int = 0,
        extra_convs: bool = False,
    ):
        super().__init__()
        at_level(in_channels, -num_levels)
        self.num_levels, self.extra_levels = num_levels, extra_levels
        self.channels = (channels,) * (num_levels + extra_levels)
        behind = tuple(strides[-1] * 2**i for i in range(1, extra_levels + 1))
        self.strides = (*strides[-num_levels:], *behind)
        self.laterals = nn.ModuleList(
            ConvBNReLU(width, channels, 1, norm=False, act=False) for width in in_channels[-num_levels:]
        )
        self.outputs = nn.ModuleList(
            ConvBNReLU(channels, channels, 3, norm=False, act=False) if output_convs else nn.Identity()
            for _ in range(num_levels)
        )
        self.extra = nn.ModuleList(
            ConvBNReLU(channels, channels, 3, stride=2, norm=False, act=False)
            for _ in range(extra_levels if extra_convs else 0)
        )

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        """features[i]: float [B,in_channels[i],h_i,w_i] -> num_levels of float [B,channels,h_i,w_i], same order, and
        extra_levels of half, a quarter, ... of the deepest one's size, rounded up."""
        maps = [lateral(x) for lateral, x in zip(self.laterals, features[-self.num_levels :])]
        for i in reversed(range(self.num_levels - 1)):
            maps[i] = maps[i] + resize(maps[i + 1], like=maps[i], mode="nearest")
        maps = [output(x) for output, x in zip(self.outputs, maps)]
        for i in range(self.extra_levels):
            deep = F.relu(maps[-1]) if i and self.extra else maps[-1]
            maps.append(self.extra[i](deep) if self.extra else deep[..., ::2, ::2])
        return maps
