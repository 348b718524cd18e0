"""A plain convolutional encoder, the contracting path of Ronneberger et al. 2015 with strided convolutions,
https://arxiv.org/abs/1505.04597."""

from torch import Tensor, nn

from segkit.models.layers import ConvBNReLU
from segkit.registry import BACKBONES


@BACKBONES.register
class PlainEncoder(nn.Module):
    """For small images and first tries: each level halves the size and has two 3x3 convolutions; weights are random.

    channels: of the levels, whose strides are 2, 4, 8, ...; mean, std: per channel of the image, in 0..255.
    """

    order = "RGB"
    stem_stride = 2

    def __init__(
        self,
        channels: tuple[int, ...] = (24, 48, 96, 128),
        in_channels: int = 3,
        *,
        mean: float = 127.5,
        std: float = 64.0,
    ):
        super().__init__()
        self.channels = tuple(channels)
        self.strides = tuple(2 ** (i + 1) for i in range(len(channels)))
        self.stem_channels = channels[0]
        self.mean, self.std = (mean,) * in_channels, (std,) * in_channels
        widths = (in_channels, *channels)
        self.down = nn.ModuleList(ConvBNReLU(a, b, 3, stride=2) for a, b in zip(widths, channels))
        self.refine = nn.ModuleList(ConvBNReLU(width, width, 3) for width in channels)

    def forward(self, image: Tensor, stem_add: Tensor | None = None) -> list[Tensor]:
        """image: float [B,in_channels,H,W]; stem_add: float [B,channels[0],ceil(H/2),ceil(W/2)] -> list of float
        [B,channels[i],h_i,w_i], h_i = ceil(h_(i-1) / 2)."""
        features = []
        x = image
        for level, (down, refine) in enumerate(zip(self.down, self.refine)):
            x = down(x)
            if level == 0 and stem_add is not None:
                x = x + stem_add
            x = refine(x)
            features.append(x)
        return features
