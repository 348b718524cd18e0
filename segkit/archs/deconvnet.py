"""Learning Deconvolution Network for Semantic Segmentation (DeconvNet), Noh, Hong and Han, ICCV 2015,
https://arxiv.org/abs/1505.04366."""

import torch.nn.functional as F
from torch import Tensor, nn

from segkit.archs._unpooling import PoolingEncoder, UnpoolingDecoder
from segkit.constraints.named import NonNegativeInt, PositiveFloat, PositiveInt
from segkit.models.bases import Backbone
from segkit.models.layers import IMAGENET_MEAN, IMAGENET_STD, ConvBNReLU, per_channel
from segkit.registry import BACKBONES

SIDE = 224
"""Smallest height and width of the padded image, in pixels."""


@BACKBONES.register
class DeconvNet(Backbone):
    """DeconvNet: VGG-16 down to one cell of 4096 channels, and a mirrored unpooling network up to the image's size.

    Section 3, figure 2. Gives one map; FCNHead with num_convs=0 completes the network. It is made for crops of 224 x
    224. Other images are padded at the right and bottom with zeros (the mean color) to at least that size and to a
    multiple of 32, and the map is cropped. Weights start random.

    The paper runs the network on fifty object proposals per image and merges their scores (section 4.4). That stage,
    the two-stage training and the ensemble with FCN-8s are left out.

    Args:
        in_channels: channels of the image.
        channels: channels of the five stages.
        hidden: width of fc6 and fc7.
        mean: mean of each image channel, in 0..255.
        std: standard deviation of each image channel, in 0..255.
    """

    order = "RGB"
    stem_stride = 1
    strides = (1,)

    def __init__(
        self,
        in_channels: PositiveInt = 3,
        channels: tuple[PositiveInt, ...] = (64, 128, 256, 512, 512),
        *,
        hidden: NonNegativeInt = 4096,
        mean: tuple[float, ...] = IMAGENET_MEAN,
        std: tuple[PositiveFloat, ...] = IMAGENET_STD,
    ):
        super().__init__()
        self.mean, self.std = per_channel(mean, in_channels), per_channel(std, in_channels)
        self.stem_channels = channels[0]
        self.channels = (channels[0],)
        self.encoder = PoolingEncoder(in_channels, tuple(channels))
        self.fc6 = ConvBNReLU(channels[-1], hidden, 7, padding=0, bias=True)
        self.fc7 = ConvBNReLU(hidden, hidden, 1, bias=True)
        self.grow = nn.Sequential(
            nn.ConvTranspose2d(hidden, channels[-1], 7), nn.BatchNorm2d(channels[-1]), nn.ReLU(inplace=True)
        )
        self.decoder = UnpoolingDecoder(tuple(channels), num_last=2)

    def forward(self, image: Tensor, stem_add: Tensor | None = None) -> list[Tensor]:
        """Computes the map.

        Args:
            image: float [B,in_channels,H,W], normalized.
            stem_add: float [B,channels[0],H,W], added after the first convolution.

        Returns:
            A list with one map, float [B,channels[0],H,W].
        """
        height, width = image.shape[-2:]
        border = (0, max(-width % 32, SIDE - width), 0, max(-height % 32, SIDE - height))
        x, poolings = self.encoder(F.pad(image, border), None if stem_add is None else F.pad(stem_add, border))
        x = self.decoder(self.grow(self.fc7(self.fc6(x))), poolings)
        return [x[..., :height, :width]]
