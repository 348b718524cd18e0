"""Assignment of objects to the positions of a feature pyramid, and boxes as distances from a position.

Tian et al., FCOS, ICCV 2019, sections 3.1 to 3.3, https://arxiv.org/abs/1904.01355. N positions of all levels, n
objects of an image.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from segkit.ops.averaging import full_precision

STRIDES = (8, 16, 32, 64, 128)
"""Pixels per cell of the five levels of the paper."""

FINEST_REACH = 64
"""Largest distance in pixels on the finest level; on each further level it doubles."""


class Places(NamedTuple):
    """Positions of all levels of a pyramid.

    Attributes:
        points: float32 [N,2], x and y in pixels.
        strides: float32 [N], pixels per cell of the position's level.
        near, far: float32 [N]. A position takes boxes whose largest distance from it to a side is within them.
    """

    points: Tensor
    strides: Tensor
    near: Tensor
    far: Tensor


class Assigned(NamedTuple):
    """The object of each position of an image.

    Attributes:
        objects: int64 [N], -1 for none.
        distances: float32 [N,4], pixels to the left, top, right and bottom side of the object's box; of any box where
            there is no object.
    """

    objects: Tensor
    distances: Tensor


def places_of(sizes: Sequence[tuple[int, int]], strides: Sequence[int], device: torch.device) -> Places:
    """Returns the positions of a pyramid, one level after the other, each row by row.

    Args:
        sizes: (h, w) of each level, the finest first.
        strides: pixels per cell of each level.
        device: of the result.
    """
    rows = []
    for i, ((height, width), stride) in enumerate(zip(sizes, strides)):
        y = torch.arange(height, device=device, dtype=torch.float32) * stride + stride // 2
        x = torch.arange(width, device=device, dtype=torch.float32) * stride + stride // 2
        points = torch.stack([x.expand(height, -1), y.unsqueeze(1).expand(-1, width)], -1).flatten(0, 1)
        near = FINEST_REACH * 2.0 ** (i - 1) if i else -1.0
        far = FINEST_REACH * 2.0**i if i < len(sizes) - 1 else float("inf")
        constants = points.new_tensor([stride, near, far]).expand(points.shape[0], -1)
        rows.append(torch.cat([points, constants], 1))
    table = torch.cat(rows)
    return Places(table[:, :2], *table[:, 2:].unbind(1))


def assign_places(places: Places, boxes: Tensor, *, radius: float = 1.5) -> Assigned:
    """Assigns to each position the smallest of the boxes that fit it.

    A box fits a position that lies inside of it, within `radius` strides of its center in x and in y, and on the level
    of the box's size.

    Args:
        places: the positions of an image.
        boxes: float [n,4] x0, y0, x1, y1 in pixels.
        radius: in strides (center sampling).

    Returns:
        The object of each position and the distances to the sides of its box.
    """
    count = len(places.points)
    if not len(boxes):
        none = torch.full((count,), -1, dtype=torch.int64, device=boxes.device)
        return Assigned(none, boxes.new_zeros(count, 4))
    boxes = boxes.float()
    low, high = boxes[:, :2], boxes[:, 2:]
    points, center = places.points.unsqueeze(1), (low + high) / 2
    distances = torch.cat([points - low, high - points], 2)
    reach = (places.strides * radius).view(-1, 1, 1)
    inner = torch.cat([points - torch.maximum(center - reach, low), torch.minimum(center + reach, high) - points], 2)
    furthest = distances.amax(2)
    fits = (furthest >= places.near.unsqueeze(1)) & (furthest <= places.far.unsqueeze(1))
    areas = (high - low).prod(1).expand(count, -1).masked_fill(~((inner.amin(2) > 0) & fits), float("inf"))
    smallest, objects = areas.min(1)
    distances = distances.gather(1, objects.view(-1, 1, 1).expand(-1, -1, 4))[:, 0]
    return Assigned(torch.where(smallest.isinf(), -1, objects), distances)


def boxes_at(points: Tensor, distances: Tensor) -> Tensor:
    """Converts distances from points to boxes.

    Args:
        points: float [n,2], x and y in pixels.
        distances: float [n,4], pixels to the left, top, right and bottom side.

    Returns:
        float [n,4] x0, y0, x1, y1 in pixels.
    """
    return torch.cat([points - distances[:, :2], points + distances[:, 2:]], 1)


def centerness(distances: Tensor) -> Tensor:
    """Computes how central a point is in its box: 1 at the center, 0 at a side (eq. 3 of the paper).

    Args:
        distances: float [n,4] to the left, top, right and bottom side, of points inside of the box.

    Returns:
        float [n] in 0..1.
    """
    across, down = distances[:, ::2], distances[:, 1::2]
    return (across.amin(1) / across.amax(1) * (down.amin(1) / down.amax(1))).sqrt()


def flatten_levels(maps: Sequence[Tensor]) -> Tensor:
    """Flattens the maps of all levels and concatenates them.

    Args:
        maps: float [B,C,h_i,w_i] of each level.

    Returns:
        float32 [B,N,C], N positions in the order of levels, then rows.
    """
    return torch.cat([full_precision(x).flatten(2) for x in maps], 2).transpose(1, 2)
