"""Bipartite matching of queries and objects, and its costs.

Carion et al., DETR, ECCV 2020, section 3.1; costs of Li et al., Box2Mask, TPAMI 2024, section 3.3,
https://arxiv.org/abs/2212.01579. Q queries, n objects, K classes, h w mask, H W image.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from segkit.ops.averaging import full_precision
from segkit.ops.instances.box_projection import projection_costs
from segkit.ops.resizing import resize

PIXELS_AT_ONCE = 2**23
"""Pixels of enlarged masks that are held at a time: 32 MiB."""

IMPOSSIBLE = 1e6
"""In place of costs that are not finite."""


def class_costs(logits: Tensor, labels: Tensor) -> Tensor:
    """Computes minus the probability that each query gives to the class of each object.

    Args:
        logits: float [Q,K+1], the last class being no object.
        labels: int64 [n].

    Returns:
        float32 [Q,n].
    """
    return -full_precision(logits).softmax(1)[:, labels]


def enlarged_projections(logits: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Projects masks onto both axes after resizing them to the image, see box_projection.projections.

    A few queries are resized at a time, so that not all of them exist at that size at once.

    Args:
        logits: float [Q,h,w].
        size: (H, W).

    Returns:
        The largest probability of each row, float32 [Q,H], and of each column, float32 [Q,W].
    """
    step = max(1, PIXELS_AT_ONCE // (size[0] * size[1]))
    rows, columns = [], []
    for chunk in full_precision(logits.detach()).split(step):
        large = resize(chunk, size=size)
        rows.append(large.amax(2))
        columns.append(large.amax(1))
    # the largest logit is the largest probability
    return torch.cat(rows).sigmoid(), torch.cat(columns).sigmoid()


def projected_boxes(masks: Tensor) -> tuple[Tensor, Tensor]:
    """Projects boxes onto both axes, without a copy of the masks as float.

    Args:
        masks: uint8 or bool [n,H,W], boxes as masks.

    Returns:
        float32 [n,H] and [n,W].
    """
    return masks.amax(2).float(), masks.amax(1).float()


def box_costs(logits: Tensor, boxes: tuple[Tensor, Tensor]) -> Tensor:
    """Computes the projection loss of every pair of a query and a box, see projection_costs.

    Args:
        logits: float [Q,h,w].
        boxes: of projected_boxes.

    Returns:
        float32 [Q,n].
    """
    rows, columns = boxes
    return projection_costs(enlarged_projections(logits, (rows.shape[1], columns.shape[1])), boxes)


def hungarian(costs: Sequence[Tensor]) -> list[tuple[Tensor, Tensor]]:
    """Matches queries and objects of each image at the least total cost, with one transfer to the host.

    Each object gets one query. Where there are more objects than queries, those that would cost most get none.

    Args:
        costs: float [Q,n] each. Costs that are not finite count as IMPOSSIBLE; the loss of such a step reports them.

    Returns:
        For each image the matched queries and objects, int64 [min(Q, n)] each on the host, queries increasing.
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
