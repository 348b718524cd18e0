"""A pixel loss at the resolution of the logits: the labels are subsampled instead of the logits being enlarged.

Chen et al., ICLR 2015, https://arxiv.org/abs/1412.7062, section 3.1. B batch, K classes, H W image, h w logits.
"""

import torch
from torch import Tensor, nn

from segkit.losses.base import Loss
from segkit.registry import LOSSES


@LOSSES.register
class OnCoarseLabels(Loss):
    """Computes a pixel loss on labels subsampled to the size of the logits.

    Each cell takes the label of the pixel at its centre.

    Args:
        loss: any loss of logits [B,K,h,w] and target [B,h,w].
        align_corners: the model's own setting. With it an image of 8n + 1 pixels gives every eighth pixel to the n + 1
            cells of stride 8.
    """

    row = dict(target="mask", at="native")
    parts = {"loss": LOSSES}

    def __init__(self, loss: nn.Module, align_corners: bool = False):
        super().__init__()
        self.loss = loss
        self.align_corners = align_corners

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Computes the loss.

        Args:
            logits: float [B,K,h,w].
            target: int64 [B,H,W] or [B,K,H,W].

        Returns:
            float [].
        """
        height, width = logits.shape[-2:]
        return self.loss(logits, coarse_labels(target, (height, width), align_corners=self.align_corners))


def coarse_labels(target: Tensor, size: tuple[int, int], *, align_corners: bool = False) -> Tensor:
    """Returns the labels of the pixels at the centres of h x w cells, [...,h,w].

    Args:
        target: [...,H,W].
        size: (h, w), the number of cells.
        align_corners: the first and last cells take the first and last pixels.
    """
    rows = _centres(target.shape[-2], size[0], align_corners, target.device)
    columns = _centres(target.shape[-1], size[1], align_corners, target.device)
    return target[..., rows[:, None], columns]


def _centres(pixels: int, cells: int, align_corners: bool, device: torch.device) -> Tensor:
    """Indices of the pixels at the centres of the cells along one axis."""
    index = torch.arange(cells, device=device)
    if align_corners:
        # whole numbers round halves up
        return (2 * index * (pixels - 1) + max(cells - 1, 1)) // (2 * max(cells - 1, 1))
    return (2 * index + 1) * pixels // (2 * cells)
