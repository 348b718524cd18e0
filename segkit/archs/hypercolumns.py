"""Hypercolumns for Object Segmentation and Fine-grained Localization, Hariharan et al., CVPR 2015,
https://arxiv.org/abs/1411.5752."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segkit.models.layers import at_level, resize
from segkit.registry import HEADS


@HEADS.register
class HypercolumnHead(nn.Module):
    """Every pixel is classified by all layers above it: linear classifiers on each layer, whose scores are resized to
    the finest of them and summed, which is the classifier of the concatenated, resized layers (section 3.2).

    levels: the layers, counted from the end, the finest first; grid: K, a classifier of its own for each cell of a
    K x K grid over the image, pixels between cell centres interpolating the scores of four of them (section 3.1; the
    paper, on boxes around objects, has K = 5 to 10). The classifier is one layer per level: this head cannot grow.
    No trustworthy public code exists: no parity; the paper's formula decides. FCNHead with several levels is the form
    with convolutions over the concatenation.
    """

    classifier = None

    def __init__(
        self,
        in_channels: tuple[int, ...],
        num_classes: int,
        *,
        levels: tuple[int, ...] = (-4, -2, -1),
        grid: int = 1,
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

    def forward(self, features: list[Tensor]) -> dict[str, Tensor]:
        """features[i]: float [B,in_channels[i],h_i,w_i] -> logits [B,num_classes,h,w] at the first level's size."""
        first, *others = [score(features[level]) for score, level in zip(self.scores, self.levels)]
        total = first
        for scores in others:
            total = total + resize(scores, like=first, align_corners=self.align_corners)
        return {"logits": total if self.grid == 1 else self._of_place(total)}

    def _of_place(self, scores: Tensor) -> Tensor:
        """float [B,K*K*num_classes,h,w], cell by cell -> [B,num_classes,h,w]."""
        cells = self.grid**2
        shares = torch.eye(cells, device=scores.device, dtype=scores.dtype).view(1, cells, self.grid, self.grid)
        shares = F.interpolate(shares, scores.shape[-2:], mode="bilinear")
        return (scores.unflatten(1, (cells, -1)) * shares.unsqueeze(2)).sum(dim=1)
