"""ERFNet: Efficient Residual Factorized ConvNet for Real-time Semantic Segmentation, Romera et al., IEEE T-ITS 2018,
https://ieeexplore.ieee.org/document/8063438."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segkit.constraints.named import Decay, PositiveFloat, PositiveInt
from segkit.models.bases import Backbone
from segkit.models.layers import IMAGENET_MEAN, IMAGENET_STD, per_channel, resize
from segkit.registry import BACKBONES

EPS = 1e-3
"""Of every batch normalization, in the authors' code and in mmsegmentation."""


class Down(nn.Module):
    """Downsampler: a strided convolution beside max pooling. Section 3.2, as in ENet.

    Args:
        in_channels: channels of the input.
        channels: channels of the output.
    """

    def __init__(self, in_channels: int, channels: int):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, channels - in_channels, 3, 2, 1)
        self.bn = nn.BatchNorm2d(channels, eps=EPS)

    def forward(self, x: Tensor) -> Tensor:
        """Maps float [B,in_channels,h,w] to float [B,channels,h / 2,w / 2], sizes rounded up."""
        conv = self.conv(x)
        # Pooling rounds down.
        pool = resize(F.max_pool2d(x, 2), like=conv)
        return torch.relu(self.bn(torch.cat([conv, pool], 1)))


class Up(nn.Module):
    """Upsampler: a transposed convolution that doubles the map.

    Args:
        in_channels: channels of the input.
        channels: channels of the output.
    """

    def __init__(self, in_channels: int, channels: int):
        super().__init__()
        self.conv = nn.ConvTranspose2d(in_channels, channels, 3, 2, 1, output_padding=1)
        self.bn = nn.BatchNorm2d(channels, eps=EPS)

    def forward(self, x: Tensor) -> Tensor:
        """Maps float [B,in_channels,h,w] to float [B,channels,2 h,2 w]."""
        return torch.relu(self.bn(self.conv(x)))


class Factorized(nn.Module):
    """Non-bottleneck-1D block: two pairs of a 3x1 and a 1x3 convolution around which the input is added.

    Section 3.1, figure 2c.

    Args:
        channels: of input and output.
        dilation: of the second pair.
        dropout: share of values dropped at the end.
    """

    def __init__(self, channels: int, dilation: int = 1, dropout: float = 0.0):
        super().__init__()
        layers: list[nn.Module] = []
        for i, step in enumerate((1, dilation)):
            layers += [
                nn.Conv2d(channels, channels, (3, 1), padding=(step, 0), dilation=(step, 1)),
                nn.ReLU(),
                nn.Conv2d(channels, channels, (1, 3), padding=(0, step), dilation=(1, step)),
                nn.BatchNorm2d(channels, eps=EPS),
                nn.Dropout(dropout) if i else nn.ReLU(),
            ]
        self.convs = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """Maps float [B,channels,h,w] to the same shape."""
        return torch.relu(x + self.convs(x))


@BACKBONES.register
class ERFNet(Backbone):
    """ERFNet: an encoder to stride 8 and a decoder back to stride 2, both of factorized residual blocks.

    Table 1, in the form of mmsegmentation, where the head has one convolution more. Gives one map of stride 2. Each
    level of the decoder doubles its input, so that the map of an odd image has a few cells more than half of it, as in
    the published code.

    Args:
        in_channels: channels of the image.
        channels: widths of the three levels, the shallowest first.
        blocks: blocks of the encoder at its second level, and how often the dilations are gone through at its third.
        dilations: of the blocks at the third level.
        decoder_blocks: blocks of each level of the decoder.
        dropout: share of values dropped in the encoder's blocks.
        mean: mean of each image channel, in 0..255.
        std: standard deviation of each image channel, in 0..255.
    """

    order = "RGB"
    strides = (2,)
    stem_stride = 2

    def __init__(
        self,
        in_channels: PositiveInt = 3,
        *,
        channels: tuple[PositiveInt, PositiveInt, PositiveInt] = (16, 64, 128),
        blocks: tuple[PositiveInt, PositiveInt] = (5, 2),
        dilations: tuple[PositiveInt, ...] = (2, 4, 8, 16),
        decoder_blocks: PositiveInt = 2,
        dropout: Decay = 0.1,
        mean: tuple[float, ...] = IMAGENET_MEAN,
        std: tuple[PositiveFloat, ...] = IMAGENET_STD,
    ):
        super().__init__()
        self.mean, self.std = per_channel(mean, in_channels), per_channel(std, in_channels)
        first, second, third = channels
        self.channels, self.stem_channels = (first,), first
        self.encoder = nn.Sequential(
            Down(in_channels, first),
            Down(first, second),
            *(Factorized(second, dropout=dropout) for _ in range(blocks[0])),
            Down(second, third),
            *(Factorized(third, dilation, dropout) for _ in range(blocks[1]) for dilation in dilations),
        )
        self.decoder = nn.Sequential(
            Up(third, second),
            *(Factorized(second) for _ in range(decoder_blocks)),
            Up(second, first),
            *(Factorized(first) for _ in range(decoder_blocks)),
        )

    def forward(self, image: Tensor, stem_add: Tensor | None = None) -> list[Tensor]:
        """Computes the map.

        Args:
            image: float [B,in_channels,H,W], normalized.
            stem_add: float [B,channels[0],ceil(H / 2),ceil(W / 2)], added after the first downsampler.

        Returns:
            One map, float [B,channels[0],4 ceil(H / 8),4 ceil(W / 8)].
        """
        x = self.encoder[0](image)
        return [self.decoder(self.encoder[1:](x if stem_add is None else x + stem_add))]
