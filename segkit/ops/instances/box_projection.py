"""Agreement of masks with boxes by their shadows on the two axes. Tian et al., BoxInst, CVPR 2021, section 3.1,
https://arxiv.org/abs/2012.02310. n instances, h w mask."""

import torch
from torch import Tensor

from segkit.ops.averaging import full_precision


def projections(masks: Tensor) -> tuple[Tensor, Tensor]:
    """masks: float [...,h,w] -> the largest value of each row [...,h] and of each column [...,w].

    Where several pixels share the largest value, one of them gets the gradient (torch's max, not amax).
    """
    return masks.max(-1).values, masks.max(-2).values


def vector_dice(a: Tensor, b: Tensor, *, eps: float = 1e-5) -> Tensor:
    """a, b: float [n,l] in 0..1 -> float [n], 1 - 2 ab / (aa + bb + eps)."""
    return 1 - 2 * (a * b).sum(-1) / (a.square().sum(-1) + b.square().sum(-1) + eps)


def box_projection(masks: Tensor, boxes: Tensor, *, eps: float = 1e-5) -> Tensor:
    """masks: float [n,h,w] probabilities; boxes: float [n,h,w], 1 inside each instance's box (soft edges are allowed)
    -> float32 [n], the Dice distances of both axes added up (eq. 3 of the paper). DiscoBox: eps = 0.002."""
    rows, columns = projections(full_precision(masks))
    box_rows, box_columns = projections(boxes.to(rows.dtype))
    return vector_dice(rows, box_rows, eps=eps) + vector_dice(columns, box_columns, eps=eps)


def projection_costs(masks: tuple[Tensor, Tensor], boxes: tuple[Tensor, Tensor], *, smooth: float = 1.0) -> Tensor:
    """masks: projections float [Q,h] and [Q,w]; boxes: projections float [n,h] and [n,w] -> float [Q,n], every pair's
    distance, each axis 1 - (2 ab + smooth) / (aa + bb + smooth): what boxes and queries are matched by (Box2Mask)."""
    total = masks[0].new_zeros(len(masks[0]), len(boxes[0]))
    with torch.autocast(total.device.type, enabled=False):
        for a, b in zip(masks, (part.to(total.dtype) for part in boxes)):
            squares = a.square().sum(1, keepdim=True) + b.square().sum(1)
            total = total + 1 - (2 * (a @ b.T) + smooth) / (squares + smooth)
    return total
