"""Feature Pyramid Networks, Lin et al., CVPR 2017, https://arxiv.org/abs/1612.03144."""

import torch.nn.functional as F
from torch import Tensor, nn

from segkit.constraints.named import OptionalRounds, PositiveInt, Rounds
from segkit.models.layers import ConvBNReLU, at_level, resize
from segkit.registry import NECKS


@NECKS.register
class FPN(nn.Module):
    """Feature pyramid network: adds each deep map to the one above it at twice its size; all maps have one width.

    Section 3. Maps are enlarged by nearest-neighbor interpolation.

    Args:
        in_channels: channels of each feature map.
        strides: image pixels per cell of each feature map.
        channels: width of every map of the pyramid.
        num_levels: number of the backbone's maps in use, counted from the deepest.
        output_convs: applies a 3x3 convolution to each sum (segmentation_models has none).
        extra_levels: maps after the deepest, each half the size of the one before. A map keeps every second position of
            the one before (section 4.1).
        extra_convs: computes the extra maps by 3x3 convolutions of stride 2 instead, with a ReLU before each from the
            second on (RetinaNet, Lin et al., ICCV 2017, section 4, and FCOS).
    """

    def __init__(
        self,
        in_channels: tuple[int, ...],
        strides: tuple[PositiveInt, ...],
        *,
        channels: PositiveInt = 256,
        num_levels: Rounds = 4,
        output_convs: bool = True,
        extra_levels: OptionalRounds = 0,
        extra_convs: bool = False,
    ):
        super().__init__()
        at_level(in_channels, -num_levels)  # raises where the backbone has fewer maps
        self.num_levels, self.extra_levels = num_levels, extra_levels
        self.channels = (channels,) * (num_levels + extra_levels)
        extra_strides = tuple(strides[-1] * 2**i for i in range(1, extra_levels + 1))
        self.strides = (*strides[-num_levels:], *extra_strides)
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
        """Computes the pyramid.

        Args:
            features: feature maps, float [B,in_channels[i],h_i,w_i].

        Returns:
            num_levels maps, float [B,channels,h_i,w_i], in the order of the features, then extra_levels maps of half, a
            quarter, ... of the deepest one's size, rounded up.
        """
        maps = [lateral(x) for lateral, x in zip(self.laterals, features[-self.num_levels :])]
        for i in reversed(range(self.num_levels - 1)):
            maps[i] = maps[i] + resize(maps[i + 1], like=maps[i], mode="nearest")
        maps = [output(x) for output, x in zip(self.outputs, maps)]
        for i in range(self.extra_levels):
            deep = F.relu(maps[-1]) if i and self.extra else maps[-1]
            maps.append(self.extra[i](deep) if self.extra else deep[..., ::2, ::2])
        return maps
