"""Context Prior for Scene Segmentation (CPNet), Yu et al., CVPR 2020, https://arxiv.org/abs/2004.01547."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segkit.constraints.named import Decay, PositiveInt
from segkit.models.bases import Head
from segkit.models.layers import ConvBNReLU, at_level
from segkit.registry import HEADS
from segkit.types import Outputs


class Aggregation(nn.Module):
    """Aggregation module: a 3x3 convolution, then two separable depthwise convolutions in both orders, summed.

    Section 3.3, figure 5. One path applies columns then rows, the other rows then columns; their sum is normalized and
    passes a ReLU.

    Args:
        in_channels: channels of the input.
        channels: channels of the output.
        size: odd length of the columns and rows.

    Raises:
        ValueError: size is even.
    """

    def __init__(self, in_channels: int, channels: int, size: int = 11):
        super().__init__()
        if size % 2 == 0:
            raise ValueError(f"aggregation size {size}: must be odd, so that columns and rows have a center")
        self.reduce = ConvBNReLU(in_channels, channels)
        column, row = (size, 1), (1, size)
        self.paths = nn.ModuleList(
            nn.Sequential(
                *(ConvBNReLU(channels, channels, kernel, groups=channels, norm=False, act=False) for kernel in kernels)
            )
            for kernels in ((column, row), (row, column))
        )
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Aggregates spatial context.

        Args:
            x: float [B,in_channels,h,w].

        Returns:
            Float [B,channels,h,w].
        """
        x = self.reduce(x)
        return F.relu(self.norm(self.paths[0](x) + self.paths[1](x)))


@HEADS.register
class CPHead(Head):
    """Context prior head: aggregates intra-class and inter-class context separately, by a learned affinity map.

    Section 3.1, figure 2, eq. 4 and 5. The affinity map has a channel per position, so the feature map has one fixed
    size: training crops are grid times the stride, and inference slides windows of that size over larger images. The
    output "prior" is for the loss Affinity (section 3.2).

    Args:
        in_channels: channels of each feature map.
        num_classes: number of classes K.
        strides: image pixels per cell of each feature map.
        channels: width of the aggregated and of the fused map.
        grid: (h, w) of the feature map.
        size: odd length of the aggregation's columns and rows.
        dropout: share of channels dropped before the classifier.
        level: map that the head reads, counted from the end; -1 is the deepest.
    """

    def __init__(
        self,
        in_channels: tuple[int, ...],
        num_classes: int,
        strides: tuple[PositiveInt, ...],
        *,
        channels: PositiveInt = 512,
        grid: tuple[PositiveInt, PositiveInt] = (64, 64),
        size: PositiveInt = 11,
        dropout: Decay = 0.1,
        level: int = -1,
    ):
        super().__init__()
        self.level, self.grid = level, tuple(grid)
        self.stride = at_level(strides, level)
        deep, positions = at_level(in_channels, level), grid[0] * grid[1]
        self.aggregate = Aggregation(deep, channels, size)
        self.prior = ConvBNReLU(channels, positions, 1, act=False)
        self.intra, self.inter = ConvBNReLU(channels, channels, 1), ConvBNReLU(channels, channels, 1)
        self.fuse = ConvBNReLU(deep + 2 * channels, channels)
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = nn.Conv2d(channels, num_classes, 1)

    def forward(self, features: list[Tensor]) -> Outputs:
        """Predicts class logits and the affinity of all pairs of positions.

        Args:
            features: feature maps, float [B,in_channels[i],h_i,w_i].

        Returns:
            "logits", float [B,K,h,w]; "embedding", float [B,channels,h,w], the input of the classifier; "prior", float
            [B,h * w,h * w], logits of the row's and the column's position being of one class.

        Raises:
            ValueError: the feature map does not have the size `grid`.
        """
        x = features[self.level]
        if tuple(x.shape[-2:]) != self.grid:
            crop = tuple(cells * self.stride for cells in self.grid)
            raise ValueError(
                f"the feature map has {tuple(x.shape[-2:])} cells, but the context prior takes grid = {self.grid}, "
                f"images of {crop} pixels; train with crop_size = {crop}, and infer with "
                f"inference = dict(mode='slide', crop={crop}, stride=...)"
            )
        prior, intra, inter = self.contexts(self.aggregate(x))
        embedding = self.dropout(self.fuse(torch.cat([x, self.intra(intra), self.inter(inter)], dim=1)))
        return {"logits": self.classifier(embedding), "embedding": embedding, "prior": prior}

    def contexts(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Computes the affinity map and the two contexts.

        Args:
            x: float [B,channels,h,w].

        Returns:
            The prior, float [B,N,N] logits with N = h * w, and the intra-class and the inter-class context, both float
            [B,channels,h,w]: means over all positions of x, weighted by the prior's probability and by one minus it.
        """
        prior = self.prior(x).flatten(2).transpose(1, 2)
        flat = x.flatten(2)
        gathered = flat @ prior.sigmoid().transpose(1, 2) / flat.shape[2]
        intra = gathered.unflatten(2, self.grid)
        # (1 - P) X / N is the mean minus P X / N, which halves the matrix products.
        return prior, intra, x.mean((2, 3), keepdim=True) - intra
