"""The simple feature pyramid of ViTDet, Li et al., ECCV 2022, https://arxiv.org/abs/2203.16527, section 3."""

import torch.nn.functional as F
from torch import Tensor, nn

from segkit.constraints.named import PositiveInt
from segkit.models.layers import at_level
from segkit.models.map_norm import MapNorm
from segkit.registry import NECKS

STRIDES = (4, 8, 16, 32)


@NECKS.register
class SimplePyramid(nn.Module):
    """Makes maps of strides 4, 8, 16 and 32 of the backbone's last map alone, for plain Vision Transformers.

    Transposed convolutions double the map twice or once, a pooling halves it; a 1x1 and a 3x3 convolution with layer
    normalizations follow. A map of another stride than 16 is resized to it first, so that patches of 14 pixels work.

    Args:
        in_channels: channels of each feature map.
        strides: image pixels per cell of each feature map.
        channels: width of the pyramid.
    """

    def __init__(self, in_channels: tuple[int, ...], strides: tuple[PositiveInt, ...], *, channels: PositiveInt = 256):
        super().__init__()
        width = at_level(in_channels, -1)
        self.factor = strides[-1] / 16
        self.channels, self.strides = (channels,) * len(STRIDES), STRIDES
        quadruple = nn.Sequential(
            nn.ConvTranspose2d(width, width // 2, 2, 2),
            MapNorm(width // 2, eps=1e-6),
            nn.GELU(),
            nn.ConvTranspose2d(width // 2, width // 4, 2, 2),
        )
        double = nn.ConvTranspose2d(width, width // 2, 2, 2)
        self.resizes = nn.ModuleList([quadruple, double, nn.Identity(), nn.MaxPool2d(2, ceil_mode=True)])
        self.outputs = nn.ModuleList(_output(wide, channels) for wide in (width // 4, width // 2, width, width))

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        """Computes the pyramid.

        Args:
            features: feature maps, float [B,in_channels[i],h_i,w_i]; the last is read.

        Returns:
            Four maps, float [B,channels,...], of 4, 2, 1 and 1 / 2 times the size of the last map at stride 16.
        """
        x = features[-1]
        if self.factor != 1:
            size = [max(round(side * self.factor), 1) for side in x.shape[-2:]]
            x = F.interpolate(x, size, mode="bilinear", align_corners=False)
        return [output(resized(x)) for resized, output in zip(self.resizes, self.outputs)]


def _output(in_channels: int, channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, channels, 1, bias=False),
        MapNorm(channels, eps=1e-6),
        nn.Conv2d(channels, channels, 3, padding=1, bias=False),
        MapNorm(channels, eps=1e-6),
    )
