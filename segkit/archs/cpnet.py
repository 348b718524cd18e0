"""Context Prior for Scene Segmentation (CPNet), Yu et al., CVPR 2020, https://arxiv.org/abs/2004.01547."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segkit.models.layers import ConvBNReLU, at_level
from segkit.registry import HEADS


class Aggregation(nn.Module):
    """A 3x3 convolution, then depthwise columns upon rows beside rows upon columns, summed and normalized (section 3.3,
    figure 5): [B,in_channels,h,w] -> [B,channels,h,w]. size: of the columns and rows."""

    def __init__(self, in_channels: int, channels: int, size: int = 11):
        super().__init__()
        if size % 2 == 0:
            raise ValueError(f"aggregation size {size}: an odd number is needed, so that it has a middle")
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
        """float [B,in_channels,h,w] -> float [B,channels,h,w]."""
        x = self.reduce(x)
        return F.relu(self.norm(self.paths[0](x) + self.paths[1](x)))


@HEADS.register
class CPHead(nn.Module):
    """Each position gathers what is of its class and, apart, what is not, by a learnt map of which is which.

    Section 3.1, figure 2, eq. 4 and 5. grid: (h, w) of the feature map, the one size it takes, since the prior has a
    channel per position: training crops are grid times the stride, and inference slides over larger images by windows
    of that size. size: of the aggregation. Output "prior" is for the loss Affinity (section 3.2).
    """

    def __init__(
        self,
        in_channels: tuple[int, ...],
        num_classes: int,
        strides: tuple[int, ...],
        *,
        channels: int = 512,
        grid: tuple[int, int] = (64, 64),
        size: int = 11,
        dropout: float = 0.1,
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

    def forward(self, features: list[Tensor]) -> dict[str, Tensor]:
        """features[i]: float [B,in_channels[i],h_i,w_i] -> logits [B,num_classes,h,w], embedding [B,channels,h,w] and
        prior [B,h * w,h * w], logits of whether the position of the row and that of the column are of one class.
        ValueError where the map is not of the size `grid`."""
        x = features[self.level]
        if tuple(x.shape[-2:]) != self.grid:
            crop = tuple(cells * self.stride for cells in self.grid)
            raise ValueError(
                f"a map of {tuple(x.shape[-2:])} cells: this prior is made for {self.grid}, images of {crop}; train "
                f"with crop_size = {crop}, and infer with inference = dict(mode='slide', crop={crop}, stride=...)"
            )
        prior, intra, inter = self.contexts(self.aggregate(x))
        embedding = self.dropout(self.fuse(torch.cat([x, self.intra(intra), self.inter(inter)], dim=1)))
        return {"logits": self.classifier(embedding), "embedding": embedding, "prior": prior}

    def contexts(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """x: float [B,channels,h,w] -> prior [B,N,N] with N = h * w, and the means over all positions of the map
        weighted by the prior's probability and by its opposite, both [B,channels,h,w]."""
        prior = self.prior(x).flatten(2).transpose(1, 2)
        flat = x.flatten(2)
        gathered = flat @ prior.sigmoid().transpose(1, 2) / flat.shape[2]
        intra = gathered.unflatten(2, self.grid)
        # (1 - P) X / N is what is left of the mean: half the products.
        return prior, intra, x.mean((2, 3), keepdim=True) - intra
