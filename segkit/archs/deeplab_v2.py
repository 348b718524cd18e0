"""DeepLab: Semantic Image Segmentation with Deep Convolutional Nets, Atrous Convolution, and Fully Connected CRFs
(DeepLabv2), Chen et al., TPAMI 2018, https://arxiv.org/abs/1606.00915."""

from torch import Tensor, nn

from segkit.archs._large_fov import large_fov
from segkit.registry import HEADS


@HEADS.register
class DeepLabV2Head(nn.Module):
    """Scores of the last map under several dilations, added up (section 3.2, figures 4 and 7): ASPP without a 1x1
    branch and without normalization. Scores at several image scales are the model's business (MultiScaleSegmentor), the
    dense CRF is not part of it.

    rates: of the 3x3 convolutions (ASPP-L; 2, 4, 8, 12 are ASPP-S, (12,) is LargeFOV); hidden: 0 on a ResNet, where
    each branch is one convolution, 1024 on VGG-16, where it is fc6, fc7 and fc8; dropout: behind fc6 and fc7. The
    scores are a sum of several layers: no one of them is the classifier, this head cannot grow.
    """

    classifier = None

    def __init__(
        self,
        in_channels: tuple[int, ...],
        num_classes: int,
        *,
        rates: tuple[int, ...] = (6, 12, 18, 24),
        hidden: int = 0,
        dropout: float = 0.5,
    ):
        super().__init__()
        self.branches = nn.ModuleList()
        for rate in rates:
            if hidden:
                layers = large_fov(in_channels[-1], hidden, rate=rate, dropout=dropout)
                self.branches.append(nn.Sequential(*layers, nn.Conv2d(hidden, num_classes, 1)))
            else:
                self.branches.append(nn.Conv2d(in_channels[-1], num_classes, 3, padding=rate, dilation=rate))
        # The authors' start of new layers: small enough that the sum of the branches is no jump.
        for scores in (branch[-1] if hidden else branch for branch in self.branches):
            nn.init.normal_(scores.weight, std=0.01)
            nn.init.zeros_(scores.bias)

    def forward(self, features: list[Tensor]) -> dict[str, Tensor]:
        """features[i]: float [B,in_channels[i],h_i,w_i] -> logits [B,num_classes,h,w] of the last map's size."""
        return {"logits": sum(branch(features[-1]) for branch in self.branches)}
