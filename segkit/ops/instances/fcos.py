"""Which places of a pyramid answer for which object, and boxes from distances. Tian et al., FCOS, ICCV 2019, sections
3.1 to 3.3, https://arxiv.org/abs/1904.01355. N places of all maps, n objects of an image."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

STRIDES = (8, 16, 32, 64, 128)
FINEST_REACH = 64
"""Pixels that the finest of the maps reaches; each other map reaches from there to twice as far."""


class Places(NamedTuple):
    """points: float32 [N,2], x and y in pixels; strides: float32 [N]; near, far: float32 [N], the largest distance to
    a side of the box that a place answers for is within them."""

    points: Tensor
    strides: Tensor
    near: Tensor
    far: Tensor


class Assigned(NamedTuple):
    """objects: int64 [N], -1 for none; distances: float32 [N,4] in pixels to the left, top, right and bottom side of
    the object's box (of any other box where there is none)."""

    objects: Tensor
    distances: Tensor


def places_of(sizes: Sequence[tuple[int, int]], strides: Sequence[int], device: torch.device) -> Places:
    """sizes: (h, w) of each map -> the places of all of them, row by row."""
    parts = []
    for i, ((height, width), stride) in enumerate(zip(sizes, strides)):
        y, x = (
            torch.arange(side, device=device, dtype=torch.float32) * stride + stride // 2 for side in (height, width)
        )
        points = torch.stack([x.expand(height, -1), y.unsqueeze(1).expand(-1, width)], -1).flatten(0, 1)
        near = FINEST_REACH * 2.0 ** (i - 1) if i else -1.0
        far = FINEST_REACH * 2.0**i if i < len(sizes) - 1 else float("inf")
        facts = points.new_tensor([stride, near, far]).expand(len(points), -1)
        parts.append(torch.cat([points, facts], 1))
    rows = torch.cat(parts)
    return Places(rows[:, :2], *rows[:, 2:].unbind(1))


def assign_places(places: Places, boxes: Tensor, *, radius: float = 1.5) -> Assigned:
    """boxes: float [n,4] x0, y0, x1, y1. A place answers for the smallest of the boxes whose inside it is in, not
    further than `radius` strides from the box's centre in x and in y, and whose size fits its map."""
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
    """points: float [n,2]; distances: float [n,4] in pixels -> float [n,4] x0, y0, x1, y1."""
    return torch.cat([points - distances[:, :2], points + distances[:, 2:]], 1)


def centerness(distances: Tensor) -> Tensor:
    """distances: float [n,4], inside of the box -> float [n], 1 at the centre, 0 at a side (eq. 3)."""
    across, down = distances[:, ::2], distances[:, 1::2]
    return (across.amin(1) / across.amax(1) * (down.amin(1) / down.amax(1))).sqrt()
