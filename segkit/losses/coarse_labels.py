"""A pixel loss at the resolution of the scores, Chen et al., ICLR 2015, https://arxiv.org/abs/1412.7062, section 3.1:
the labels are subsampled instead of the scores being enlarged. B batch, K classes, H W image, h w scores."""

import torch
from torch import Tensor, nn

from segkit.losses.base import Loss
from segkit.registry import LOSSES


@LOSSES.register
class OnCoarseLabels(Loss):
    """A loss of pixels whose labels are brought to the size of the logits, each cell taking the pixel at its centre.
    Its row says at="native", so that the logits keep their size.

    loss: any loss of logits [B,K,h,w] and target [B,h,w]; align_corners: the model's. With it an image of 8n + 1 pixels
    gives the n + 1 cells of stride 8 every eighth pixel.
    """

    row = dict(target="mask", at="native")

    parts = {"loss": LOSSES}

    def __init__(self, loss: nn.Module, align_corners: bool = False):
        super().__init__()
        self.loss = loss
        self.align_corners = align_corners

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """logits: float [B,K,h,w]; target: int64 [B,H,W] or [B,K,H,W] -> float []."""
        return self.loss(logits, coarse_labels(target, tuple(logits.shape[-2:]), align_corners=self.align_corners))


def coarse_labels(target: Tensor, size: tuple[int, int], *, align_corners: bool = False) -> Tensor:
    """target: [...,H,W]; size: (h, w) -> [...,h,w], the pixel in which the centre of each cell lies; with align_corners
    the first and last cells are the first and last pixels."""
    rows, columns = (
        _centres(full, cells, align_corners, target.device) for full, cells in zip(target.shape[-2:], size)
    )
    return target[..., rows[:, None], columns]


def _centres(full: int, cells: int, align_corners: bool, device: torch.device) -> Tensor:
    index = torch.arange(cells, device=device)
    if align_corners:
        # Halves are rounded up, in whole numbers.
        return (2 * index * (full - 1) + max(cells - 1, 1)) // (2 * max(cells - 1, 1))
    return (2 * index + 1) * full // (2 * cells)
