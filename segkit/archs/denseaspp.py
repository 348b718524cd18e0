"""DenseASPP for Semantic Segmentation in Street Scenes, Yang et al., CVPR 2018,
https://openaccess.thecvf.com/content_cvpr_2018/html/Yang_DenseASPP_for_Semantic_CVPR_2018_paper.html."""

import torch
from torch import Tensor, nn

from segkit.constraints.named import Decay, NonNegativeInt, PositiveInt
from segkit.models.bases import Head
from segkit.registry import HEADS
from segkit.types import Outputs


class DenseAtrous(nn.Module):
    """Dense atrous layer: a 1x1 convolution to hidden channels and a dilated 3x3 convolution.

    Both convolutions have a bias and follow a normalization and a ReLU.

    Args:
        in_channels: channels of the input.
        channels: channels of the output.
        hidden: channels between the two convolutions.
        dilation: dilation of the 3x3 convolution.
        dropout: share of channels dropped from the result.
        norm_first: normalizes the input; the first layer of a sequence gets it normalized already.
    """

    def __init__(
        self, in_channels: int, channels: int, *, hidden: int, dilation: int, dropout: float, norm_first: bool
    ):
        super().__init__()
        # The authors' code has this small momentum too.
        self.norm1 = nn.BatchNorm2d(in_channels, momentum=0.0003) if norm_first else nn.Identity()
        self.conv1 = nn.Conv2d(in_channels, hidden, 1)
        self.norm2 = nn.BatchNorm2d(hidden, momentum=0.0003)
        self.conv2 = nn.Conv2d(hidden, channels, 3, padding=dilation, dilation=dilation)
        self.dropout = nn.Dropout2d(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Applies the layer.

        Args:
            x: float [B,in_channels,h,w].

        Returns:
            Float [B,channels,h,w].
        """
        x = self.conv1(self.norm1(x).relu())
        return self.dropout(self.conv2(self.norm2(x).relu()))


@HEADS.register
class DenseASPPHead(Head):
    """DenseASPP: dilated convolutions in sequence, each reading the input and the results of all before it.

    Section 3. The head includes the DenseNet's last transition, which halves the channels, and its last normalization.

    Args:
        in_channels: channels of each feature map.
        num_classes: number of classes K.
        rates: dilations of the sequence (3, 6, 12, 18, 24 in the paper).
        hidden: channels inside each layer: 128 on DenseNet-121, 512 on DenseNet-161.
        channels: channels that each layer adds: 64 on DenseNet-121, 128 on DenseNet-161.
        row_dropout: share of channels dropped after each layer.
        dropout: share of channels dropped before the classifier.
    """

    def __init__(
        self,
        in_channels: tuple[int, ...],
        num_classes: int,
        *,
        rates: tuple[PositiveInt, ...] = (3, 6, 12, 18, 24),
        hidden: NonNegativeInt = 128,
        channels: PositiveInt = 64,
        row_dropout: Decay = 0.1,
        dropout: Decay = 0.1,
    ):
        super().__init__()
        width = in_channels[-1] // 2
        self.transition = nn.Sequential(
            nn.BatchNorm2d(in_channels[-1]), nn.ReLU(), nn.Conv2d(in_channels[-1], width, 1, bias=False)
        )
        self.norm = nn.BatchNorm2d(width)
        self.row = nn.ModuleList(
            DenseAtrous(
                width + i * channels, channels, hidden=hidden, dilation=rate, dropout=row_dropout, norm_first=i > 0
            )
            for i, rate in enumerate(rates)
        )
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = nn.Conv2d(width + len(rates) * channels, num_classes, 1)

    def forward(self, features: list[Tensor]) -> Outputs:
        """Predicts class logits.

        Args:
            features: feature maps, float [B,in_channels[i],h_i,w_i].

        Returns:
            "logits", float [B,K,h,w], and "embedding", float [B,in_channels[-1] / 2 + len(rates) * channels,h,w], the
            input of the classifier; both have the last map's size.
        """
        # The authors' first layer applies its ReLU in place, so all later layers see the positive part alone.
        x = self.norm(self.transition(features[-1])).relu()
        for block in self.row:
            x = torch.cat([block(x), x], dim=1)
        embedding = self.dropout(x)
        return {"logits": self.classifier(embedding), "embedding": embedding}
