"""DenseASPP for Semantic Segmentation in Street Scenes, Yang et al., CVPR 2018,
https://openaccess.thecvf.com/content_cvpr_2018/html/Yang_DenseASPP_for_Semantic_CVPR_2018_paper.html."""

import torch
from torch import Tensor, nn

from segkit.registry import HEADS


class DenseAtrous(nn.Module):
    """A 1x1 convolution to hidden channels and a dilated 3x3 one, both with biases, each behind a normalization and a
    ReLU: [B,in_channels,h,w] -> [B,channels,h,w]. norm_first: whether the input is normalized; the first of
    a row has it normalized already."""

    def __init__(
        self, in_channels: int, channels: int, *, hidden: int, dilation: int, dropout: float, norm_first: bool
    ):
        super().__init__()
        # Slow statistics, as in the authors' code.
        self.norm1 = nn.BatchNorm2d(in_channels, momentum=0.0003) if norm_first else nn.Identity()
        self.conv1 = nn.Conv2d(in_channels, hidden, 1)
        self.norm2 = nn.BatchNorm2d(hidden, momentum=0.0003)
        self.conv2 = nn.Conv2d(hidden, channels, 3, padding=dilation, dilation=dilation)
        self.dropout = nn.Dropout2d(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """float [B,in_channels,h,w] -> float [B,channels,h,w]."""
        x = self.conv1(self.norm1(x).relu())
        return self.dropout(self.conv2(self.norm2(x).relu()))


@HEADS.register
class DenseASPPHead(nn.Module):
    """Dilated convolutions in a row, each of which sees the input and the results of all before it (section 3).
    The last transition and the last normalization of the DenseNet are here.

    rates: of the row (paper: 3, 6, 12, 18, 24); hidden, channels: of each convolution, 128 and 64 on
    DenseNet-121, 512 and 128 on DenseNet-161; the transition halves the channels; row_dropout: of channels behind each
    convolution, dropout: before the classifier.
    """

    def __init__(
        self,
        in_channels: tuple[int, ...],
        num_classes: int,
        *,
        rates: tuple[int, ...] = (3, 6, 12, 18, 24),
        hidden: int = 128,
        channels: int = 64,
        row_dropout: float = 0.1,
        dropout: float = 0.1,
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

    def forward(self, features: list[Tensor]) -> dict[str, Tensor]:
        """features[i]: float [B,in_channels[i],h_i,w_i] -> logits [B,num_classes,h,w], embedding [B,in_channels[-1] / 2
        + len(rates) * channels,h,w], of the last map's size."""
        # The authors' first block applies its ReLU in place: all later ones see the positive part alone.
        x = self.norm(self.transition(features[-1])).relu()
        for block in self.row:
            x = torch.cat([block(x), x], dim=1)
        embedding = self.dropout(x)
        return {"logits": self.classifier(embedding), "embedding": embedding}
