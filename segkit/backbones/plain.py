"""A plain convolutional encoder: the contracting path of U-Net with strided convolutions.

Ronneberger et al. 2015, https://arxiv.org/abs/1505.04597.
"""

from torch import Tensor, nn

from segkit.constraints.named import PositiveFloat, PositiveInt
from segkit.models.bases import Backbone
from segkit.models.layers import ConvBNReLU
from segkit.registry import BACKBONES, ConfigError


@BACKBONES.register
class PlainEncoder(Backbone):
    """A small encoder with random weights, for small images and first experiments.

    Each level halves the size and has two 3x3 convolutions.

    Args:
        channels: of the levels, whose strides are 2, 4, 8, ...
        in_channels: channels of the image.
        mean, std: of the images, in 0..255; one value for all channels or one for each.

    Raises:
        ConfigError: there are other than one or `in_channels` values.
    """

    stem_stride = 2

    def __init__(
        self,
        channels: tuple[PositiveInt, ...] = (24, 48, 96, 128),
        in_channels: PositiveInt = 3,
        *,
        mean: float | tuple[float, ...] = 127.5,
        std: PositiveFloat | tuple[PositiveFloat, ...] = 64.0,
    ):
        super().__init__()
        self.channels = tuple(channels)
        self.strides = tuple(2 ** (i + 1) for i in range(len(channels)))
        self.stem_channels = channels[0]
        self.mean, self.std = _per_channel("mean", mean, in_channels), _per_channel("std", std, in_channels)
        widths = (in_channels, *channels)
        self.down = nn.ModuleList(ConvBNReLU(a, b, 3, stride=2) for a, b in zip(widths, channels))
        self.refine = nn.ModuleList(ConvBNReLU(width, width, 3) for width in channels)

    def forward(self, image: Tensor, stem_add: Tensor | None = None) -> list[Tensor]:
        """Computes the feature maps.

        Args:
            image: float [B,in_channels,H,W], normalized.
            stem_add: float [B,channels[0],ceil(H / 2),ceil(W / 2)], added after the first convolution.

        Returns:
            Maps shallow to deep, float [B,channels[i],h_i,w_i], h_i = ceil(h_(i-1) / 2).
        """
        features = []
        x = image
        for level, (down, refine) in enumerate(zip(self.down, self.refine)):
            x = down(x)
            if level == 0 and stem_add is not None:
                x = x + stem_add
            x = refine(x)
            features.append(x)
        return features


def _per_channel(name: str, values: float | tuple[float, ...], channels: int) -> tuple[float, ...]:
    if not isinstance(values, list | tuple):
        return (float(values),) * channels
    if len(values) != channels:
        raise ConfigError(f"PlainEncoder.{name} has {len(values)} values for {channels} channels; give one for each")
    return tuple(float(value) for value in values)
