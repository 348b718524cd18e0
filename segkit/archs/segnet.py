"""SegNet: A Deep Convolutional Encoder-Decoder Architecture, Badrinarayanan, Kendall and Cipolla, 2015,
https://arxiv.org/abs/1511.00561."""

from torch import Tensor, nn

from segkit.archs._unpooling import PoolingEncoder, UnpoolingDecoder
from segkit.models.layers import IMAGENET_MEAN, IMAGENET_STD, per_channel
from segkit.registry import BACKBONES, HEADS


@BACKBONES.register
class SegNet(nn.Module):
    """VGG-16 without its fully connected layers and its mirror image; the places of the maxima are all that crosses
    from one to the other (section 3, figure 2): [B,in_channels,H,W] -> one map [B,channels[0],H,W].

    channels: of the five stages; mean, std: in 0..255. SegNetHead completes it; weights are random.
    """

    order = "RGB"
    stem_stride = 1
    strides = (1,)

    def __init__(
        self,
        in_channels: int = 3,
        channels: tuple[int, ...] = (64, 128, 256, 512, 512),
        *,
        mean: tuple[float, ...] = IMAGENET_MEAN,
        std: tuple[float, ...] = IMAGENET_STD,
    ):
        super().__init__()
        self.mean, self.std = per_channel(mean, in_channels), per_channel(std, in_channels)
        self.stem_channels = channels[0]
        self.channels = (channels[0],)
        self.encoder = PoolingEncoder(in_channels, tuple(channels))
        # The head's convolution is the second one of the last stage.
        self.decoder = UnpoolingDecoder(tuple(channels), num_last=1)

    def forward(self, image: Tensor, stem_add: Tensor | None = None) -> list[Tensor]:
        """image: float [B,in_channels,H,W]; stem_add: float [B,channels[0],H,W], added behind the first convolution
        -> [float [B,channels[0],H,W]]."""
        return [self.decoder(*self.encoder(image, stem_add))]


@HEADS.register
class SegNetHead(nn.Module):
    """The last 3x3 convolution, from the finest map to classes."""

    def __init__(self, in_channels: tuple[int, ...], num_classes: int):
        super().__init__()
        self.classifier = nn.Conv2d(in_channels[-1], num_classes, 3, padding=1)

    def forward(self, features: list[Tensor]) -> dict[str, Tensor]:
        """features[-1]: float [B,C,h,w] -> logits [B,num_classes,h,w], embedding [B,C,h,w]."""
        return {"logits": self.classifier(features[-1]), "embedding": features[-1]}
