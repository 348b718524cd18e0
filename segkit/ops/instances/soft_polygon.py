"""Soft masks of polygons, through which their vertices learn.

Yang et al., BoxSnake, ICCV 2023, section 3.3, https://arxiv.org/abs/2303.11630. n polygons, V vertices, h w mask.
"""

import torch
from torch import Tensor

LEAST_LENGTH = 1e-12
"""Smallest squared length of an edge that is divided by."""


def soft_polygon(vertices: Tensor, size: tuple[int, int], *, smoothness: float = 0.1) -> Tensor:
    """Draws polygons as soft masks: sigmoid(d^2 / smoothness) inside and sigmoid(-d^2 / smoothness) outside.

    d is the distance of a pixel's centre to the outline, in pixels. Inside is what a ray crosses the outline from an
    odd number of times. The gradient goes to the two vertices of the nearest edge.

    Args:
        vertices: float [n,V,2] x, y in continuous pixels of the mask: (0.5, 0.5) is the centre of the first one.
        size: (h, w).
        smoothness: in squared pixels.

    Returns:
        float [n,h,w] in 0..1.
    """
    start = vertices - 0.5
    edge = start.roll(-1, 1) - start
    rows = torch.arange(size[0], device=vertices.device, dtype=vertices.dtype)
    columns = torch.arange(size[1], device=vertices.device, dtype=vertices.dtype)
    y, x = (plane.flatten() for plane in torch.meshgrid(rows, columns, indexing="ij"))
    nearest = vertices.new_full((len(vertices), len(x)), torch.inf)
    is_inside = torch.zeros_like(nearest, dtype=torch.bool)
    # edge by edge: not all distances exist at once
    for (x0, y0), (dx, dy) in zip(start.permute(1, 2, 0).unsqueeze(3), edge.permute(1, 2, 0).unsqueeze(3)):
        along = ((x - x0) * dx + (y - y0) * dy) / (dx.square() + dy.square()).clamp_min(LEAST_LENGTH)
        along = along.clamp(0, 1)
        distance = (x - x0 - along * dx).square() + (y - y0 - along * dy).square()
        nearest = torch.minimum(nearest, distance)
        with torch.no_grad():
            crosses = (y0 > y) != (y0 + dy > y)
            is_inside ^= crosses & (x < x0 + dx * (y - y0) / torch.where(dy == 0, 1.0, dy))
    signed = torch.where(is_inside, nearest, -nearest)
    return (signed / smoothness).sigmoid().unflatten(1, size)
