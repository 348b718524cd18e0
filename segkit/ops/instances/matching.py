"""Queries matched with objects at the least cost. Carion et al., DETR, ECCV 2020, section 3.1; costs of Li et al.,
Box2Mask, TPAMI 2024, section 3.3, https://arxiv.org/abs/2212.01579. Q queries, n objects, K classes, h w mask,
H W image."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from segkit.ops.averaging import full_precision
from segkit.ops.instances.box_projection import projection_costs, projections

PIXELS_AT_ONCE = 2**23
"""Of enlarged masks: 32 MiB."""

IMPOSSIBLE = 1e6


def class_costs(logits: Tensor, labels: Tensor) -> Tensor:
    """logits: float [Q,K+1]; labels: int64 [n] -> float32 [Q,n], minus the probability of each object's class."""
    return -full_precision(logits).softmax(1)[:, labels]


def enlarged_projections(logits: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """logits: float [Q,h,w]; size: (H, W) -> float32 [Q,H] and [Q,W], the largest probability of each row and column of
    the masks resized to the image; a few queries at a time, so that all of them never exist in that size."""
    step = max(1, PIXELS_AT_ONCE // (size[0] * size[1]))
    parts = []
    for some in full_precision(logits.detach()).split(step):
        large = F.interpolate(some.unsqueeze(1), size=size, mode="bilinear", align_corners=False)[:, 0]
        parts.append((large.amax(2), large.amax(1)))
    rows, columns = (torch.cat(each).sigmoid() for each in zip(*parts))  # the largest logit is the largest probability
    return rows, columns


def box_costs(logits: Tensor, masks: Tensor) -> Tensor:
    """logits: float [Q,h,w]; masks: uint8 or bool [n,H,W], boxes as masks -> float32 [Q,n], see projection_costs."""
    known = tuple(part.float() for part in projections(masks))
    return projection_costs(enlarged_projections(logits, tuple(masks.shape[1:])), known)


def hungarian(costs: Sequence[Tensor]) -> list[tuple[Tensor, Tensor]]:
    """costs: float [Q,n] each -> for each (queries, objects) int64 [min(Q, n)] on the host, queries rising.

    Each object gets one query; of more objects than queries those that would cost most stay without. One transfer to
    the host. Costs that are not finite count as IMPOSSIBLE: the loss of such a step says so.
    """
    from scipy.optimize import linear_sum_assignment

    if not costs:
        return []
    sizes = [cost.numel() for cost in costs]
    flat = torch.cat([cost.detach().flatten().float() for cost in costs]).cpu()
    flat = flat.nan_to_num(IMPOSSIBLE, IMPOSSIBLE, -IMPOSSIBLE)
    matches = []
    for cost, values in zip(costs, flat.split(sizes)):
        rows, columns = linear_sum_assignment(values.view(cost.shape).numpy())
        matches.append((torch.from_numpy(rows), torch.from_numpy(columns)))
    return matches
