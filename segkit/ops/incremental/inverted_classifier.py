"""STAR-Lite: directions of old classes are found in their classifier and in new images, and nothing of them is stored.

Chen et al., Replay Without Saving: Prototype Derivation and Distribution Rebalance for Class-Incremental Semantic
Segmentation, TPAMI 2025, https://ieeexplore.ieee.org/document/10904177. K classes without the background, C channels.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from segkit.ops.incremental.prototypes import EPSILON

STEPS = 500_000
"""Steps of the search; on one core they take a minute or two."""

RATE, DECAY = 2.5e-4, 0.01
"""Learning rate and weight decay of its AdamW."""

BETAS, ADAM_EPSILON = (0.9, 0.999), 1e-8


@torch.no_grad()
def invert_classifier(weight: Tensor, bias: Tensor, steps: int | None = None) -> Tensor:
    """Searches for the features that a classifier of sigmoids takes for one class each.

    AdamW minimizes the binary cross entropy of K features to K classes, averaged over K x K, from zeros on; after each
    step numbers below 0, which features behind a ReLU do not have, become 0. The features are those after the step
    from the smallest loss.

    Args:
        weight: float [K,C] of the last convolution.
        bias: float [K].
        steps: of AdamW; None for STEPS.

    Returns:
        float32 [K,C], unit vectors.
    """
    weight, bias = weight.detach().float(), bias.detach().float()
    x, wanted = torch.zeros_like(weight), torch.eye(len(weight), device=weight.device)
    first, second, best, lowest = torch.zeros_like(x), torch.zeros_like(x), x.clone(), math.inf
    for step in range(1, (STEPS if steps is None else steps) + 1):
        logits = torch.addmm(bias, x, weight.t())
        loss = float(F.binary_cross_entropy_with_logits(logits, wanted))
        gradient = (logits.sigmoid() - wanted) @ weight / wanted.numel()
        first.lerp_(gradient, 1 - BETAS[0])
        second.mul_(BETAS[1]).addcmul_(gradient, gradient, value=1 - BETAS[1])
        scale = second.sqrt().div_(math.sqrt(1 - BETAS[1] ** step)).add_(ADAM_EPSILON)
        x.mul_(1 - RATE * DECAY).addcdiv_(first, scale, value=-RATE / (1 - BETAS[0] ** step)).clamp_min_(0)
        if loss < lowest:
            lowest = loss
            best.copy_(x)
    return F.normalize(best, dim=1, eps=EPSILON)


def derived_prototypes(inverted: Tensor, sums: Tensor) -> tuple[Tensor, Tensor]:
    """Joins what was found in the classifier and in new images.

    Args:
        inverted: float [K,C] of invert_classifier.
        sums: float [K,C], sums of the directions z / |z| of what the teacher takes for each class.

    Returns:
        The prototypes float32 [K,C], unit vectors, and the distance of each to the nearest other one, float32 [K], 0
        where there is none.
    """
    prototypes = F.normalize(inverted + F.normalize(sums.to(inverted), dim=1, eps=EPSILON), dim=1, eps=EPSILON)
    apart = torch.cdist(prototypes, prototypes, compute_mode="donot_use_mm_for_euclid_dist")
    nearest = apart.fill_diagonal_(math.inf).amin(1)
    return prototypes, torch.where(nearest.isfinite(), nearest, 0.0)
