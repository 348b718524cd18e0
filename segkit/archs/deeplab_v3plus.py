"""Encoder-Decoder with Atrous Separable Convolution (DeepLabv3+), Chen et al., ECCV 2018,
https://arxiv.org/abs/1802.02611."""

from torch import Tensor, nn

from segkit.models.layers import ASPP, ConvBNReLU, DepthwiseSeparable, at_level
from segkit.ops.resized_conv import joined
from segkit.registry import HEADS


@HEADS.register
class DeepLabV3PlusHead(nn.Module):
    """Separable atrous pyramid on the deepest map, refined beside a reduced early map of stride 4.

    Figure 2. The defaults are those of mmsegmentation's benchmark; the paper's form has channels=256 and
    fuse_kernel=1, and rates=(6, 12, 18) at output stride 16. segmentation_models' form has besides num_fuse_convs=1,
    num_convs=1, depthwise_norm=False, fuse_dropout=0.5, dropout=0 and a model with align_corners=True.
    low_level, low_channels: the early map and the width it is reduced to (section 4.1: 48); num_convs: separable
    convolutions after the concatenation, num_fuse_convs: before it.
    """

    def __init__(
        self,
        in_channels: tuple[int, ...],
        num_classes: int,
        *,
        channels: int = 512,
        rates: tuple[int, ...] = (12, 24, 36),
        low_level: int = -4,
        low_channels: int = 48,
        fuse_kernel: int = 3,
        fuse_dropout: float = 0.0,
        num_fuse_convs: int = 0,
        num_convs: int = 2,
        depthwise_norm: bool = True,
        dropout: float = 0.1,
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

    def forward(self, features: list[Tensor]) -> dict[str, Tensor]:
        """features[i]: float [B,in_channels[i],h_i,w_i] -> logits [B,num_classes,h,w] and embedding [B,channels,h,w]
        at the early map's size."""
        low = self.low(features[self.low_level])
        fused = self.fuse_convs(self.fuse_dropout(self.fuse.over_concat(self.aspp(features[-1]), like=features[-1])))
        both = joined([fused, low], low.shape[-2:], align_corners=self.align_corners)
        embedding = self.dropout(self.refine(both))
        return {"logits": self.classifier(embedding), "embedding": embedding}
