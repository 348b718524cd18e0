"""LinkNet, Chaurasia and Culurciello, VCIP 2017, https://arxiv.org/abs/1707.03718."""

import math

from torch import Tensor, nn

from segkit.constraints.named import Decay, PositiveInt
from segkit.models.bases import Head
from segkit.models.decoder_layers import skips_of
from segkit.models.layers import ConvBNReLU
from segkit.ops.resizing import fitted
from segkit.registry import HEADS
from segkit.types import Outputs


class LinkBlock(nn.Module):
    """Decoder block (figure 3): 1x1 to a quarter of the channels, a transposed convolution of stride 2, 1x1.

    Args:
        in_channels: channels of the input.
        channels: channels of the output.
        norm: uses batch normalization.
    """

    def __init__(self, in_channels: int, channels: int, *, norm: bool = True):
        super().__init__()
        width = in_channels // 4
        self.reduce = ConvBNReLU(in_channels, width, 1, norm=norm)
        self.up = nn.Sequential(
            nn.ConvTranspose2d(width, width, 4, stride=2, padding=1),
            nn.BatchNorm2d(width) if norm else nn.Identity(),
            nn.ReLU(inplace=True),
        )
        self.expand = ConvBNReLU(width, channels, 1, norm=norm)

    def forward(self, x: Tensor) -> Tensor:
        """Maps float [B,in_channels,h,w] to float [B,channels,2h,2w]."""
        return self.expand(self.up(self.reduce(x)))


@HEADS.register
class LinkNetHead(Head):
    """LinkNet decoder for any encoder: doubles the size step by step and adds the encoder's map at every stride.

    In the form of segmentation_models, which has a block per stride of the encoder, the stem's included, and reaches
    the image's own resolution. A stride that the encoder has no map for is passed without one.

    Args:
        in_channels: channels of each feature map.
        num_classes: number of classes K.
        strides: stride of each feature map in pixels of the image.
        channels: channels of the last block's output.
        norm: uses batch normalization.
        dropout: share of channels dropped before the classifier.
    """

    needs = ("size",)

    def __init__(
        self,
        in_channels: tuple[int, ...],
        num_classes: int,
        strides: tuple[PositiveInt, ...],
        *,
        channels: PositiveInt = 32,
        norm: bool = True,
        dropout: Decay = 0.0,
    ):
        super().__init__()
        doublings = int(math.log2(strides[-1]))
        self.strides = tuple(strides[-1] // 2 ** (i + 1) for i in range(doublings))
        self.skips = tuple(skips_of(strides, doublings))
        width, blocks = in_channels[-1], []
        for skip, stride in zip(self.skips, self.strides):
            following = width if skip is None else in_channels[skip]
            following = channels if stride == 1 and skip is None else following
            blocks.append(LinkBlock(width, following, norm=norm))
            width = following
        self.blocks = nn.ModuleList(blocks)
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = nn.Conv2d(width, num_classes, 1)

    def forward(self, features: list[Tensor], size: tuple[int, int]) -> Outputs:
        """Predicts class logits.

        Args:
            features: feature maps, float [B,in_channels[i],h_i,w_i].
            size: (H, W) of the input in pixels.

        Returns:
            "logits", float [B,K,H,W], and "embedding", float [B,channels,H,W], the input of the classifier.
        """
        x = features[-1]
        for block, skip, stride in zip(self.blocks, self.skips, self.strides):
            rows, columns = (-(-side // stride) for side in size) if skip is None else features[skip].shape[-2:]
            x = fitted(block(x), (rows, columns))
            if skip is not None:
                x = x + features[skip]
        embedding = self.dropout(x)
        return {"logits": self.classifier(embedding), "embedding": embedding}
