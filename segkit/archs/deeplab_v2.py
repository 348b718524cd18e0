"""DeepLab: Semantic Image Segmentation with Deep Convolutional Nets, Atrous Convolution, and Fully Connected CRFs
(DeepLabv2), Chen et al., TPAMI 2018, https://arxiv.org/abs/1606.00915."""

from torch import Tensor, nn

from segkit.archs._large_fov import large_fov
from segkit.constraints.named import Decay, NonNegativeInt, PositiveInt
from segkit.models.bases import Head
from segkit.models.layers import bias_of
from segkit.registry import HEADS
from segkit.types import Outputs


@HEADS.register
class DeepLabV2Head(Head):
    """DeepLabv2's ASPP: class scores of the last map under several dilations, summed.

    Section 3.2, figures 4 and 7. This ASPP has no 1x1 branch and no normalization. Scores at several image scales are
    left to the model MultiScaleSegmentor; the dense CRF is not part of the model. The scores are a sum of several
    layers, none of which is the classifier, so this head cannot grow.

    Args:
        in_channels: channels of each feature map.
        num_classes: number of classes K.
        rates: dilations of the 3x3 convolutions. The default is ASPP-L; (2, 4, 8, 12) is ASPP-S, (12,) LargeFOV.
        hidden: 0 makes each branch one convolution, as on a ResNet; otherwise a branch is fc6, fc7 and fc8 with this
            width (1024 on VGG-16).
        dropout: probability of dropping an element after fc6 and fc7.
    """

    classifier = None

    def __init__(
        self,
        in_channels: tuple[int, ...],
        num_classes: int,
        *,
        rates: tuple[PositiveInt, ...] = (6, 12, 18, 24),
        hidden: NonNegativeInt = 0,
        dropout: Decay = 0.5,
    ):
        super().__init__()
        self.branches = nn.ModuleList()
        last_convs = []
        for rate in rates:
            if hidden:
                layers = large_fov(in_channels[-1], hidden, rate=rate, dropout=dropout)
                last_convs.append(nn.Conv2d(hidden, num_classes, 1))
                self.branches.append(nn.Sequential(*layers, last_convs[-1]))
            else:
                last_convs.append(nn.Conv2d(in_channels[-1], num_classes, 3, padding=rate, dilation=rate))
                self.branches.append(last_convs[-1])
        # The authors' initialization of new layers keeps the sum of the branches small at first.
        for conv in last_convs:
            nn.init.normal_(conv.weight, std=0.01)
            nn.init.zeros_(bias_of(conv))

    def forward(self, features: list[Tensor]) -> Outputs:
        """Predicts class logits.

        Args:
            features: feature maps, float [B,in_channels[i],h_i,w_i].

        Returns:
            "logits", float [B,K,h,w], with the last map's size.
        """
        return {"logits": sum(branch(features[-1]) for branch in self.branches)}
