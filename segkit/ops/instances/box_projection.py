"""Projection loss of masks and boxes. Tian et al., BoxInst, CVPR 2021, section 3.1, https://arxiv.org/abs/2012.02310.

Q queries, n objects, h w mask.
"""

import torch
from torch import Tensor

from segkit.ops.averaging import full_precision


def projections(masks: Tensor) -> tuple[Tensor, Tensor]:
    """Projects masks onto both axes: the largest value of each row and of each column.

    Where several pixels share the largest value, one of them gets the gradient (torch's max, not amax).

    Args:
        masks: float [...,h,w].

    Returns:
        The row maxima [...,h] and the column maxima [...,w].
    """
    return masks.max(-1).values, masks.max(-2).values


def vector_dice(a: Tensor, b: Tensor, *, eps: float = 1e-5) -> Tensor:
    """Computes the Dice loss with squared sums, 1 - 2 ab / (aa + bb + eps).

    Args:
        a, b: float [n,l] in 0..1.
        eps: keeps the divisor above 0.

    Returns:
        float [n].
    """
    return 1 - 2 * (a * b).sum(-1) / (a.square().sum(-1) + b.square().sum(-1) + eps)


def box_projection(masks: Tensor, boxes: Tensor, *, eps: float = 1e-5) -> Tensor:
    """Projection loss: compares row and column maxima of masks and boxes by Dice losses (eq. 3 of the paper).

    Args:
        masks: float [n,h,w] probabilities.
        boxes: float [n,h,w], 1 inside each object's box; soft edges are allowed.
        eps: see vector_dice; DiscoBox has 0.002.

    Returns:
        float32 [n], the sum of both axes' losses.
    """
    rows, columns = projections(full_precision(masks))
    # boxes get no gradient, and the largest values alone are found faster than with their places
    box_rows, box_columns = (boxes.detach().amax(axis).to(rows.dtype) for axis in (-1, -2))
    return vector_dice(rows, box_rows, eps=eps) + vector_dice(columns, box_columns, eps=eps)


def projection_costs(masks: tuple[Tensor, Tensor], boxes: tuple[Tensor, Tensor], *, smooth: float = 1.0) -> Tensor:
    """Computes the projection loss of every pair of a query and a box, the matching cost of Box2Mask.

    The loss of each axis is 1 - (2 ab + smooth) / (aa + bb + smooth).

    Args:
        masks: projections of the queries' masks, float [Q,h] and [Q,w].
        boxes: projections of the boxes, float [n,h] and [n,w].
        smooth: added to both terms of the fraction.

    Returns:
        float [Q,n], the sum of both axes' losses.
    """
    total = masks[0].new_zeros(len(masks[0]), len(boxes[0]))
    with torch.autocast(total.device.type, enabled=False):
        for a, values in zip(masks, boxes):
            b = values.to(total.dtype)
            squares = a.square().sum(1, keepdim=True) + b.square().sum(1)
            total = total + 1 - (2 * (a @ b.T) + smooth) / (squares + smooth)
    return total
