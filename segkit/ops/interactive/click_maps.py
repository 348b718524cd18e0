"""Clicks as maps a network can read: disks, and distances to the nearest click.

Formulas: section 3.1 of Sofiiuk et al., 2021, https://arxiv.org/abs/2102.06583. B batch, P clicks per sign, H W image.
"""

import math

import torch
from torch import Tensor

NOWHERE = 1e6
"""Squared distance, in units of the radius, of a map without a click: its distance map is 1 everywhere."""


def disk_maps(clicks: Tensor, size: tuple[int, int], radius: float = 5.0, *, scale: float = 1.0) -> Tensor:
    """1 within `radius` pixels of a click, border included, else 0: radius 5 is a disk of 81 pixels.

    clicks: float [B,2P,3] of y, x, order, first P positive, empty iff max(y, x) < 0; they may be fractional or outside.
    scale: of the map against the image the clicks are given on. -> float32 [B,2,H,W], positive map first.

    Each disk is written into its own small window, so that cost and memory follow the clicks and not 2P whole maps.
    """
    (height, width), (batch, rows) = size, clicks.shape[:2]
    centre = clicks[..., :2].float() * scale
    is_valid = clicks[..., :2].amax(-1) >= 0
    reach = math.ceil(radius * scale)
    window = torch.arange(-reach, reach + 2, device=clicks.device)
    y, x = (centre[..., i : i + 1].floor() + window for i in (0, 1))
    distance = ((y - centre[..., :1]) ** 2).unsqueeze(3) + ((x - centre[..., 1:]) ** 2).unsqueeze(2)
    inside = (distance <= (radius * scale) ** 2) & is_valid[..., None, None]
    inside &= ((y >= 0) & (y < height)).unsqueeze(3) & ((x >= 0) & (x < width)).unsqueeze(2)
    sign = torch.arange(rows, device=clicks.device) // (rows // 2)
    place = (sign[:, None, None] * height + y.long().unsqueeze(3)) * width + x.long().unsqueeze(2)
    # what lies outside a disk goes to one more element that is cut off
    place = torch.where(inside, place, 2 * height * width).flatten(1)
    maps = torch.zeros(batch, 2 * height * width + 1, device=clicks.device)
    return maps.scatter_(1, place, 1.0)[:, :-1].view(batch, 2, height, width)


def distance_maps(clicks: Tensor, size: tuple[int, int], norm_radius: float = 260.0, *, scale: float = 1.0) -> Tensor:
    """tanh(2 d / norm_radius) with d the distance in pixels to the nearest click of the sign, 1 without any.

    Arguments and result as of disk_maps.
    """
    (height, width), rows = size, clicks.shape[1]
    unit = norm_radius * scale
    centre = clicks[..., :2].float() * scale
    is_empty = (clicks[..., :2].amax(-1) < 0)[..., None]
    y = ((torch.arange(height, device=clicks.device) - centre[..., :1]) / unit).square()
    y = torch.where(is_empty, NOWHERE, y).unflatten(1, (2, rows // 2))
    x = ((torch.arange(width, device=clicks.device) - centre[..., 1:]) / unit).square()
    x = torch.where(is_empty, 0.0, x).unflatten(1, (2, rows // 2))
    nearest = y[:, :, 0, :, None] + x[:, :, 0, None, :]
    for i in range(1, rows // 2):
        nearest = torch.minimum(nearest, y[:, :, i, :, None] + x[:, :, i, None, :])
    return nearest.sqrt_().mul_(2).tanh_()


def clicks_of_group(clicks: Tensor, group: int, num_groups: int) -> Tensor:
    """The clicks [B,2P,3] with every row emptied that belongs to another group.

    A click of order i belongs to group i; those of an order without a group, and a negative first click, to the last
    group; an order below 0 belongs to none. Groups of the published code hold one click per sign (the first two): more
    clicks of one order are all kept here.
    """
    order = clicks[..., 2].long()
    is_negative = torch.arange(clicks.shape[1], device=clicks.device) >= clicks.shape[1] // 2
    last = (order >= num_groups) | ((order == 0) & is_negative)
    own = torch.where(last, num_groups - 1, order)
    return torch.where((own == group).unsqueeze(-1), clicks, -1.0)
