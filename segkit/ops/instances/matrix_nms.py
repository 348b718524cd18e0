"""Scores of overlapping masks decay instead of masks being dropped, all at once. Wang et al., SOLOv2, NeurIPS 2020,
section 3.3, https://arxiv.org/abs/2003.10152. n masks, h w map."""

import torch
import torch.nn.functional as F
from torch import Tensor

KERNELS = {
    "gaussian": lambda iou, sigma: torch.exp(-sigma * iou.square()),
    "linear": lambda iou, sigma: 1 - iou,
}


def matrix_nms(
    masks: Tensor, labels: Tensor, scores: Tensor, *, kernel: str = "gaussian", sigma: float = 2.0
) -> Tensor:
    """masks: bool [n,h,w]; labels: int64 [n]; scores: float [n] -> float32 [n], decayed scores in the same order.

    A mask's score decays by the worst of the better masks of its class: f(iou_ij) / f(largest iou of i with one better
    than itself) (eq. 5 and 6 of the paper). kernel f: one of KERNELS. Masks without area do not decay.
    """
    if kernel not in KERNELS:
        raise ValueError(f"kernel = {kernel!r}: there are {', '.join(KERNELS)}")
    if not len(scores):
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
    """scores: float [n] -> int64 [m], m <= limit, indices of those that reach the threshold, the best first."""
    order = torch.argsort(scores, descending=True, stable=True)[:limit]
    return order[scores[order] >= threshold]


def points_nms(scores: Tensor) -> Tensor:
    """scores: float [B,K,S,S] -> the same where a cell is the largest of the 2 x 2 cells that end in it, else 0."""
    largest = F.max_pool2d(scores, 2, stride=1, padding=1)[:, :, :-1, :-1]
    return scores * (largest == scores)
