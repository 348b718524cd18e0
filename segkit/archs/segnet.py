"""SegNet: A Deep Convolutional Encoder-Decoder Architecture, Badrinarayanan, Kendall and Cipolla, 2015,
https://arxiv.org/abs/1511.00561."""

from torch import Tensor, nn

from segkit.archs._unpooling import PoolingEncoder, UnpoolingDecoder
from segkit.constraints.named import PositiveFloat, PositiveInt
from segkit.models.bases import Backbone, Head
from segkit.models.layers import IMAGENET_MEAN, IMAGENET_STD, per_channel
from segkit.registry import BACKBONES, HEADS
from segkit.types import Outputs


@BACKBONES.register
class SegNet(Backbone):
    """SegNet encoder and decoder: VGG-16 without its fully connected layers, and its mirror image.

    Section 3, figure 2. Only the positions of the maxima cross from the encoder to the decoder. The one map has the
    size of the image; SegNetHead completes the network. Weights start random.

    Args:
        in_channels: channels of the image.
        channels: channels of the five stages.
        mean, std: statistics of each channel of the image, in 0..255.
    """

    stem_stride = 1
    strides = (1,)

    def __init__(
        self,
        in_channels: PositiveInt = 3,
        channels: tuple[PositiveInt, ...] = (64, 128, 256, 512, 512),
        *,
        mean: tuple[float, ...] = IMAGENET_MEAN,
        std: tuple[PositiveFloat, ...] = IMAGENET_STD,
    ):
        super().__init__()
        self.mean, self.std = per_channel(mean, in_channels), per_channel(std, in_channels)
        self.stem_channels = channels[0]
        self.channels = (channels[0],)
        self.encoder = PoolingEncoder(in_channels, tuple(channels))
        # The head's convolution is the second of the last stage.
        self.decoder = UnpoolingDecoder(tuple(channels), num_last=1)

    def forward(self, image: Tensor, stem_add: Tensor | None = None) -> list[Tensor]:
        """Encodes and decodes an image.

        Args:
            image: float [B,in_channels,H,W], normalized.
            stem_add: float [B,channels[0],H,W], added after the first convolution.

        Returns:
            One map, float [B,channels[0],H,W].
        """
        return [self.decoder(*self.encoder(image, stem_add))]


@HEADS.register
class SegNetHead(Head):
    """The last 3x3 convolution of SegNet, from the finest map to classes.

    Args:
        in_channels: channels of each feature map.
        num_classes: number of classes K.
    """

    def __init__(self, in_channels: tuple[int, ...], num_classes: int):
        super().__init__()
        self.classifier = nn.Conv2d(in_channels[-1], num_classes, 3, padding=1)

    def forward(self, features: list[Tensor]) -> Outputs:
        """Predicts class logits.

        Args:
            features: feature maps, float [B,in_channels[i],h_i,w_i].

        Returns:
            "logits", float [B,K,h,w], and "embedding", float [B,C,h,w], the last map.
        """
        return {"logits": self.classifier(features[-1]), "embedding": features[-1]}
