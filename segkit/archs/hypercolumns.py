"""Hypercolumns for Object Segmentation and Fine-grained Localization, Hariharan et al., CVPR 2015,
https://arxiv.org/abs/1411.5752."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segkit.constraints.named import PositiveInt
from segkit.models.bases import Head
from segkit.models.layers import at_level, resize
from segkit.registry import HEADS
from segkit.types import Outputs


@HEADS.register
class HypercolumnHead(Head):
    """Hypercolumn head: a linear classifier on each of several feature maps, whose resized scores are summed.

    The scores are resized to the finest map. This equals one linear classifier over the concatenation of the resized
    maps (section 3.2). FCNHead with several levels is the form with convolutions over the concatenation.

    This head cannot grow, since its classifier is one layer per level. No trustworthy public code exists, so there is
    no parity; the paper's formula decides.

    Args:
        in_channels: channels of each feature map.
        num_classes: number of classes K.
        levels: maps that the head reads, counted from the end, the finest first.
        grid: cells along each side of a grid over the image, with a classifier for each cell; pixels between cell
            centers interpolate the scores of four cells (section 3.1; the paper, which works on boxes around
            objects, has 5 to 10). 1 is a single classifier.
        align_corners: aligns the corner cells when scores are resized.
    """

    classifier = None

    def __init__(
        self,
        in_channels: tuple[int, ...],
        num_classes: int,
        *,
        levels: tuple[int, ...] = (-4, -2, -1),
        grid: PositiveInt = 1,
        align_corners: bool = False,
    ):
        super().__init__()
        self.levels = tuple(levels)
        self.grid = grid
        self.align_corners = align_corners
        self.scores = nn.ModuleList(
            nn.Conv2d(at_level(in_channels, level), num_classes * grid**2, 1, bias=i == 0)
            for i, level in enumerate(self.levels)
        )

    def forward(self, features: list[Tensor]) -> Outputs:
        """Predicts class logits.

        Args:
            features: feature maps, float [B,in_channels[i],h_i,w_i].

        Returns:
            "logits", float [B,K,h,w], at the size of the first level's map.
        """
        first, *others = [score(features[level]) for score, level in zip(self.scores, self.levels)]
        total = first
        for scores in others:
            total = total + resize(scores, like=first, align_corners=self.align_corners)
        return {"logits": total if self.grid == 1 else self._interpolate_cells(total)}

    def _interpolate_cells(self, scores: Tensor) -> Tensor:
        """Interpolates the scores of all cells, float [B,grid * grid * K,h,w], to float [B,K,h,w]."""
        cells = self.grid**2
        shares = torch.eye(cells, device=scores.device, dtype=scores.dtype).view(1, cells, self.grid, self.grid)
        shares = F.interpolate(shares, scores.shape[-2:], mode="bilinear")
        return (scores.unflatten(1, (cells, -1)) * shares.unsqueeze(2)).sum(dim=1)
