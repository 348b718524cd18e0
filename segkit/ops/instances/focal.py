"""Focal loss of dense detectors, most of whose cells hold no object. Lin et al., ICCV 2017, eq. 5,
https://arxiv.org/abs/1708.02002.

B batch, K classes.
"""

import torch
from torch import Tensor

from segkit.ops.averaging import full_precision
from segkit.ops.log_sigmoid import focal_of_negatives


def sigmoid_focal_sum(logits: Tensor, labels: Tensor, *, gamma: float = 2.0, alpha: float = 0.25) -> Tensor:
    """Sums alpha_t (1 - p_t)^gamma (-log p_t) over all cells and classes, each class against the rest.

    Args:
        logits: float [B,K,...].
        labels: int64 [B,...], K where there is no object.
        gamma: exponent, 0 or more.
        alpha: weight of positives, in 0..1.

    Returns:
        float32 [].
    """
    logits, num_classes = full_precision(logits), logits.shape[1]
    index = labels.clamp_max(num_classes - 1).unsqueeze(1)
    is_object = (labels < num_classes).unsqueeze(1)
    true = logits.gather(1, index)
    # a positive with logit x and a negative with logit -x have the same loss
    values = focal_of_negatives(logits.scatter(1, index, torch.where(is_object, -true, true)), gamma)
    at_true = values.gather(1, index) * is_object
    return (1 - alpha) * values.sum() + (2 * alpha - 1) * at_true.sum()


def mask_focal(logits: Tensor, target: Tensor, *, gamma: float = 2.0, alpha: float = 0.25) -> Tensor:
    """Computes alpha_t (1 - p_t)^gamma (-log p_t) of each pixel of masks.

    Args:
        logits: float [n,P].
        target: float [n,P] of 0 and 1.
        gamma: exponent, 0 or more.
        alpha: weight of pixels in the mask, in 0..1; that of others is 1 - alpha.

    Returns:
        float [n,P].
    """
    # a pixel in the mask with logit x and one outside with logit -x have the same loss
    values = focal_of_negatives(torch.where(target > 0.5, -logits, logits), gamma)
    return torch.where(target > 0.5, alpha, 1 - alpha) * values


def focal_costs(logits: Tensor, target: Tensor, *, gamma: float = 2.0, alpha: float = 0.25) -> Tensor:
    """Computes the mean focal loss of every pair of a predicted and a true mask.

    Args:
        logits: float [Q,P].
        target: float [n,P] in 0..1.
        gamma, alpha: as of mask_focal.

    Returns:
        float [Q,n].
    """
    with torch.autocast(logits.device.type, enabled=False):
        inside, outside = focal_of_negatives(-logits, gamma), focal_of_negatives(logits, gamma)
        costs = alpha * inside @ target.T + (1 - alpha) * outside @ (1 - target).T
        return costs / max(logits.shape[1], 1)
