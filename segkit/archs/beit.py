"""The pyramid of BEiT's and MAE's UPerNet, Bao et al., ICLR 2022, https://arxiv.org/abs/2106.08254, section 3.2."""

from torch import Tensor, nn

from segkit.constraints.named import PositiveInt
from segkit.models.layers import at_level
from segkit.registry import NECKS, ConfigError

LEVELS = 4


@NECKS.register
class FeatureToPyramid(nn.Module):
    """Resizes four maps of a plain Vision Transformer to strides 4, 8, 16 and 32; Feature2Pyramid of mmsegmentation.

    The first map is enlarged by two transposed convolutions, the second by one, the third stays, the last is pooled.

    Args:
        in_channels: channels of each feature map.
        strides: image pixels per cell of each feature map.

    Raises:
        ConfigError: the last four maps are not of one stride that is a multiple of 4.
    """

    def __init__(self, in_channels: tuple[int, ...], strides: tuple[PositiveInt, ...]):
        super().__init__()
        at_level(in_channels, -LEVELS)  # raises where the backbone has fewer maps
        stride = strides[-1]
        if set(strides[-LEVELS:]) != {stride} or stride % 4:
            raise ConfigError(
                f"neck: maps of strides {tuple(strides[-LEVELS:])}, but FeatureToPyramid takes four of one stride that "
                "is a multiple of 4; name SimplePyramid, which takes any"
            )
        self.channels = tuple(in_channels[-LEVELS:])
        self.strides = (stride // 4, stride // 2, stride, 2 * stride)
        first, second = self.channels[:2]
        self.four_times = nn.Sequential(
            nn.ConvTranspose2d(first, first, 2, 2),
            nn.BatchNorm2d(first),
            nn.GELU(),
            nn.ConvTranspose2d(first, first, 2, 2),
        )
        self.twice = nn.ConvTranspose2d(second, second, 2, 2)
        self.halve = nn.MaxPool2d(2)

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        """Computes the pyramid.

        Args:
            features: feature maps, float [B,in_channels[i],h,w]; the last four are read.

        Returns:
            Four maps, float [B,channels[i],...], of 4, 2, 1 and 1 / 2 times the size, rounded down.
        """
        first, second, third, last = features[-LEVELS:]
        return [self.four_times(first), self.twice(second), third, self.halve(last)]
