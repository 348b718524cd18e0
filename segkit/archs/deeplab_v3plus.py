"""Encoder-Decoder with Atrous Separable Convolution (DeepLabv3+), Chen et al., ECCV 2018,
https://arxiv.org/abs/1802.02611."""

from torch import Tensor, nn

from segkit.constraints.named import Decay, OptionalRounds, PositiveInt
from segkit.models.bases import Head
from segkit.models.layers import ASPP, ConvBNReLU, DepthwiseSeparable, at_level
from segkit.ops.resized_conv import joined
from segkit.registry import HEADS
from segkit.types import Outputs


@HEADS.register
class DeepLabV3PlusHead(Head):
    """DeepLabv3+: separable atrous pyramid on the deepest map, refined together with a reduced early map of stride 4.

    Figure 2. The defaults are those of mmsegmentation's benchmark. The paper's form has channels=256 and fuse_kernel=1,
    and rates=(6, 12, 18) at output stride 16; segmentation_models' has in addition num_fuse_convs=1, num_convs=1,
    depthwise_norm=False, fuse_dropout=0.5, dropout=0 and a model with align_corners=True.

    Args:
        in_channels: channels of each feature map.
        num_classes: number of classes K.
        channels: width of each pyramid branch, of the fused and of the refined map.
        rates: dilations of the pyramid's 3x3 convolutions.
        low_level: early map, counted from the end.
        low_channels: width that the early map is reduced to (48, section 4.1).
        fuse_kernel: side of the kernel of the fusing convolution.
        fuse_dropout: probability of dropping an element after the fusing convolution.
        num_fuse_convs: separable convolutions before the concatenation with the early map.
        num_convs: separable convolutions after the concatenation.
        depthwise_norm: gives the depthwise convolutions a normalization and a ReLU of their own.
        dropout: share of channels dropped before the classifier.
        align_corners: whether bilinear resizing aligns the corner pixels.
    """

    needs_pyramid = True

    def __init__(
        self,
        in_channels: tuple[int, ...],
        num_classes: int,
        *,
        channels: PositiveInt = 512,
        rates: tuple[PositiveInt, ...] = (12, 24, 36),
        low_level: int = -4,
        low_channels: PositiveInt = 48,
        fuse_kernel: PositiveInt = 3,
        fuse_dropout: Decay = 0.0,
        num_fuse_convs: OptionalRounds = 0,
        num_convs: OptionalRounds = 2,
        depthwise_norm: bool = True,
        dropout: Decay = 0.1,
        align_corners: bool = False,
    ):
        super().__init__()
        self.low_level = low_level
        self.align_corners = align_corners
        self.aspp = ASPP(in_channels[-1], channels, rates, separable=True, depthwise_norm=depthwise_norm)
        self.fuse = ConvBNReLU((len(rates) + 2) * channels, channels, fuse_kernel)
        self.fuse_dropout = nn.Dropout(fuse_dropout)
        self.fuse_convs = nn.Sequential(
            *(DepthwiseSeparable(channels, channels, depthwise_norm=depthwise_norm) for _ in range(num_fuse_convs))
        )
        self.low = ConvBNReLU(at_level(in_channels, low_level), low_channels, 1)
        widths = [channels + low_channels] + [channels] * (num_convs - 1)
        self.refine = nn.Sequential(
            *(DepthwiseSeparable(width, channels, depthwise_norm=depthwise_norm) for width in widths)
        )
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = nn.Conv2d(channels, num_classes, 1)

    def forward(self, features: list[Tensor]) -> Outputs:
        """Predicts class logits.

        Args:
            features: feature maps, float [B,in_channels[i],h_i,w_i].

        Returns:
            "logits", float [B,K,h,w], and "embedding", float [B,channels,h,w], the input of the classifier; both have
            the early map's size.
        """
        low = self.low(features[self.low_level])
        fused = self.fuse_convs(self.fuse_dropout(self.fuse.over_concat(self.aspp(features[-1]), like=features[-1])))
        concatenated = joined([fused, low], low.shape[-2:], align_corners=self.align_corners)
        embedding = self.dropout(self.refine(concatenated))
        return {"logits": self.classifier(embedding), "embedding": embedding}
