"""Matrix NMS: lowers the scores of overlapping masks, all at once, in place of dropping masks one by one.

Wang et al., SOLOv2, NeurIPS 2020, section 3.3, https://arxiv.org/abs/2003.10152. n masks, h w map.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

KERNELS = {
    "gaussian": lambda iou, sigma: torch.exp(-sigma * iou.square()),
    "linear": lambda iou, sigma: 1 - iou,
}
"""Decay of a score by the overlap with a better mask."""


def matrix_nms(
    masks: Tensor, labels: Tensor, scores: Tensor, *, kernel: str = "gaussian", sigma: float = 2.0
) -> Tensor:
    """Lowers the score of each mask by its overlap with better masks of its class (eq. 5 and 6 of the paper).

    The factor of mask j is the smallest f(iou_ij) / f(largest iou of i with a mask better than itself) over all better
    masks i. Masks without area do not decay.

    Args:
        masks: bool [n,h,w].
        labels: int64 [n].
        scores: float [n].
        kernel: f, "gaussian" or "linear".
        sigma: of the Gaussian kernel exp(-sigma iou^2).

    Returns:
        float32 [n], the decayed scores in the order of the masks.

    Raises:
        ValueError: for an unknown kernel.
    """
    if kernel not in KERNELS:
        raise ValueError(f"kernel = {kernel!r}: must be one of {', '.join(map(repr, KERNELS))}")
    if not torch.compiler.is_exporting() and not len(scores):
        return scores.float()
    order = torch.argsort(scores, descending=True, stable=True)
    with torch.autocast(masks.device.type, enabled=False):
        flat = masks.flatten(1)[order].float()
        area, overlap = flat.sum(1), flat @ flat.T
    iou = overlap / (area.unsqueeze(1) + area - overlap).clamp_min(1)
    same = labels[order].unsqueeze(1) == labels[order]
    iou = (iou * same).triu(1)
    worst = iou.max(0).values.unsqueeze(1)
    decay = (KERNELS[kernel](iou, sigma) / KERNELS[kernel](worst, sigma)).min(0).values
    return torch.empty_like(decay).index_copy_(0, order, scores[order].float() * decay)


def best_scores(scores: Tensor, *, threshold: float, limit: int) -> Tensor:
    """Returns the indices of the best scores, int64 [m], the best first.

    Args:
        scores: float [n].
        threshold: smallest score that is kept.
        limit: largest number of indices.
    """
    order = torch.argsort(scores, descending=True, stable=True)[:limit]
    return order[scores[order] >= threshold]


def points_nms(scores: Tensor) -> Tensor:
    """Keeps the scores of cells that are the largest of the 2 x 2 cells that end in them, and sets the others to 0.

    Args:
        scores: float [B,K,S,S] of B images, K classes and a grid of S x S cells.

    Returns:
        float [B,K,S,S].
    """
    largest = F.max_pool2d(scores, 2, stride=1, padding=1)[:, :, :-1, :-1]
    return scores * (largest == scores)
