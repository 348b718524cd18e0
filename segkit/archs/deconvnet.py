"""Learning Deconvolution Network for Semantic Segmentation (DeconvNet), Noh, Hong and Han, ICCV 2015,
https://arxiv.org/abs/1505.04366."""

import torch.nn.functional as F
from torch import Tensor, nn

from segkit.archs._unpooling import PoolingEncoder, UnpoolingDecoder
from segkit.models.layers import IMAGENET_MEAN, IMAGENET_STD, ConvBNReLU, per_channel
from segkit.registry import BACKBONES

SIDE = 224


@BACKBONES.register
class DeconvNet(nn.Module):
    """VGG-16 down to one cell of 4096 channels and its mirror image back up, unpooling by the places of the maxima
    (section 3, figure 2): [B,in_channels,H,W] -> one map [B,channels[0],H,W]. FCNHead with num_convs=0 completes it.

    It is made for crops of 224 x 224. Other images are padded at the right and bottom with zeros (the mean color) to
    at least that and to a multiple of 32, and the map is cropped. The paper runs it on fifty object proposals per image
    and puts their scores together (section 4.4): that stage, the two-stage training and the ensemble with FCN-8s are
    left out. channels: of the five stages; hidden: of fc6 and fc7; mean, std: in 0..255. Weights are random.
    """

    order = "RGB"
    stem_stride = 1
    strides = (1,)

    def __init__(
        self,
        in_channels: int = 3,
        channels: tuple[int, ...] = (64, 128, 256, 512, 512),
        *,
        hidden: int = 4096,
        mean: tuple[float, ...] = IMAGENET_MEAN,
        std: tuple[float, ...] = IMAGENET_STD,
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
        """image: float [B,in_channels,H,W]; stem_add: float [B,channels[0],H,W], added behind the first convolution
        -> [float [B,channels[0],H,W]]."""
        height, width = image.shape[-2:]
        bottom, right = (max(-side % 32, SIDE - side) for side in (height, width))
        border = (0, right, 0, bottom)
        x, places = self.encoder(F.pad(image, border), None if stem_add is None else F.pad(stem_add, border))
        x = self.decoder(self.grow(self.fc7(self.fc6(x))), places)
        return [x[..., :height, :width]]
