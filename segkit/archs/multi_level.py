"""A pyramid from a Vision Transformer's maps of one size, as in SETR and UPerNet on ViT.

MultiLevelNeck of https://github.com/open-mmlab/mmsegmentation.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from segkit.constraints.named import PositiveFloat, PositiveInt
from segkit.models.layers import ConvBNReLU, at_level
from segkit.registry import NECKS, ConfigError


@NECKS.register
class MultiLevelNeck(nn.Module):
    """Resizes the maps of a plain Vision Transformer to a pyramid of strides 4, 8, 16 and 32.

    Every map passes a 1x1 convolution, a bilinear resize by its scale, and a 3x3 convolution; all with bias and without
    normalization.

    Args:
        in_channels: channels of each feature map.
        strides: image pixels per cell of each feature map.
        channels: width of the pyramid; None for that of the maps.
        scales: factor of each of the last len(scales) maps; a map of stride 16 gets stride 16 / scale.

    Raises:
        ConfigError: the backbone has fewer maps, or a scale that gives no whole stride.
    """

    def __init__(
        self,
        in_channels: tuple[int, ...],
        strides: tuple[PositiveInt, ...],
        *,
        channels: PositiveInt | None = None,
        scales: tuple[PositiveFloat, ...] = (4, 2, 1, 0.5),
    ):
        super().__init__()
        at_level(in_channels, -len(scales))  # raises where the backbone has fewer maps
        self.scales = tuple(float(scale) for scale in scales)
        used = in_channels[-len(scales) :]
        self.channels = tuple(width if channels is None else channels for width in used)
        self.strides = tuple(round(stride / scale) for stride, scale in zip(strides[-len(scales) :], self.scales))
        if any(a * scale != b for a, scale, b in zip(self.strides, self.scales, strides[-len(scales) :])):
            fitting = tuple(stride / 2 ** (i + 2) for i, stride in enumerate(strides[-len(scales) :]))
            raise ConfigError(
                f"neck.scales = {tuple(scales)}: maps of strides {strides[-len(scales) :]} get no whole strides; "
                f"{fitting} gives strides of 4, 8, 16, ..."
            )
        self.laterals = nn.ModuleList(
            ConvBNReLU(width, out, 1, norm=False, act=False) for width, out in zip(used, self.channels)
        )
        self.outputs = nn.ModuleList(ConvBNReLU(width, width, 3, norm=False, act=False) for width in self.channels)

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        """Computes the pyramid.

        Args:
            features: feature maps, float [B,in_channels[i],h_i,w_i].

        Returns:
            len(scales) maps, float [B,channels[i],h_i * scales[i],w_i * scales[i]], sizes rounded down.
        """
        maps = []
        for x, lateral, output, scale in zip(features[-len(self.scales) :], self.laterals, self.outputs, self.scales):
            x = lateral(x)
            if scale != 1:
                x = F.interpolate(x, scale_factor=scale, mode="bilinear", align_corners=False)
            maps.append(output(x))
        return maps
