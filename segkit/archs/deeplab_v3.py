"""Rethinking Atrous Convolution (DeepLabv3), Chen et al., 2017, https://arxiv.org/abs/1706.05587."""

from torch import Tensor, nn

from segkit.constraints.named import Decay, OptionalRounds, PositiveInt
from segkit.models.bases import Head
from segkit.models.layers import ASPP, ConvBNReLU, at_level
from segkit.registry import HEADS
from segkit.types import Outputs


@HEADS.register
class DeepLabV3Head(Head):
    """DeepLabv3: atrous spatial pyramid pooling on the deepest feature map, fused and classified.

    Section 3.3, figure 5. The defaults are those of mmsegmentation's benchmark. The paper's form has channels=256 and
    fuse_kernel=1, and rates=(6, 12, 18) at output stride 16; torchvision's has in addition num_convs=1,
    fuse_dropout=0.5 and dropout=0.

    Args:
        in_channels: channels of each feature map.
        num_classes: number of classes K.
        channels: width of each pyramid branch and of the fused map.
        rates: dilations of the pyramid's 3x3 convolutions.
        fuse_kernel: side of the kernel of the fusing convolution.
        fuse_dropout: probability of dropping an element after the fusing convolution.
        num_convs: 3x3 convolutions after the fusing one.
        dropout: share of channels dropped before the classifier.
        level: map that the head reads, counted from the end; -1 is the deepest.
    """

    def __init__(
        self,
        in_channels: tuple[int, ...],
        num_classes: int,
        *,
        channels: PositiveInt = 512,
        rates: tuple[PositiveInt, ...] = (12, 24, 36),
        fuse_kernel: PositiveInt = 3,
        fuse_dropout: Decay = 0.0,
        num_convs: OptionalRounds = 0,
        dropout: Decay = 0.1,
        level: int = -1,
    ):
        super().__init__()
        self.level = level
        self.aspp = ASPP(at_level(in_channels, level), channels, rates)
        self.fuse = ConvBNReLU((len(rates) + 2) * channels, channels, fuse_kernel)
        self.fuse_dropout = nn.Dropout(fuse_dropout)
        self.convs = nn.Sequential(*(ConvBNReLU(channels, channels) for _ in range(num_convs)))
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = nn.Conv2d(channels, num_classes, 1)

    def forward(self, features: list[Tensor]) -> Outputs:
        """Predicts class logits.

        Args:
            features: feature maps, float [B,in_channels[i],h_i,w_i].

        Returns:
            "logits", float [B,K,h,w], and "embedding", float [B,channels,h,w], the input of the classifier.
        """
        x = features[self.level]
        fused = self.fuse_dropout(self.fuse.over_concat(self.aspp(x), like=x))
        embedding = self.dropout(self.convs(fused))
        return {"logits": self.classifier(embedding), "embedding": embedding}
