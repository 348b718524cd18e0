"""Encodings of clicks as maps that a network can read: disks, and distances to the nearest click.

Formulas: section 3.1 of Sofiiuk et al., 2021, https://arxiv.org/abs/2102.06583. B batch, P clicks per sign, H W image.
"""

import math

import torch
from torch import Tensor

NOWHERE = 1e6
"""Squared distance, in units of the radius, in a map without clicks: its distance map is 1 everywhere."""


def disk_maps(clicks: Tensor, size: tuple[int, int], radius: float = 5.0, *, scale: float = 1.0) -> Tensor:
    """Draws each click as a disk: 1 within `radius` pixels of a click, border included, 0 elsewhere.

    Each disk is written into its own small window, so that cost and memory grow with the clicks and not with 2P whole
    maps.

    Args:
        clicks: float [B,2P,3] of y, x, order, first P positive; a row is empty where max(y, x) < 0. Positions may be
            fractional or outside of the image.
        size: (H, W) of the maps.
        radius: in pixels of the image the clicks are given on; 5 is a disk of 81 pixels.
        scale: size of the maps over the size of that image.

    Returns:
        float32 [B,2,H,W], the positive map first.
    """
    height, width = size
    batch, rows = clicks.shape[:2]
    center = clicks[..., :2].float() * scale
    is_valid = clicks[..., :2].amax(-1) >= 0
    reach = math.ceil(radius * scale)
    window = torch.arange(-reach, reach + 2, device=clicks.device)
    y = center[..., :1].floor() + window
    x = center[..., 1:].floor() + window
    distance = ((y - center[..., :1]) ** 2).unsqueeze(3) + ((x - center[..., 1:]) ** 2).unsqueeze(2)
    inside = (distance <= (radius * scale) ** 2) & is_valid[..., None, None]
    inside &= ((y >= 0) & (y < height)).unsqueeze(3) & ((x >= 0) & (x < width)).unsqueeze(2)
    sign = torch.arange(rows, device=clicks.device) // (rows // 2)
    index = (sign[:, None, None] * height + y.long().unsqueeze(3)) * width + x.long().unsqueeze(2)
    # pixels outside of a disk are written to one extra element that is cut off
    index = torch.where(inside, index, 2 * height * width).flatten(1)
    maps = torch.zeros(batch, 2 * height * width + 1, device=clicks.device)
    return maps.scatter_(1, index, 1.0)[:, :-1].view(batch, 2, height, width)


def distance_maps(clicks: Tensor, size: tuple[int, int], norm_radius: float = 260.0, *, scale: float = 1.0) -> Tensor:
    """Computes tanh(2 d / norm_radius), d being the distance in pixels to the nearest click of each sign.

    Args:
        clicks: float [B,2P,3], see disk_maps.
        size: (H, W) of the maps.
        norm_radius: in pixels of the image the clicks are given on.
        scale: size of the maps over the size of that image.

    Returns:
        float32 [B,2,H,W] in 0..1, the positive map first; 1 everywhere for a sign without clicks.
    """
    height, width = size
    rows = clicks.shape[1]
    unit = norm_radius * scale
    center = clicks[..., :2].float() * scale
    is_empty = (clicks[..., :2].amax(-1) < 0)[..., None]
    y = ((torch.arange(height, device=clicks.device) - center[..., :1]) / unit).square()
    y = torch.where(is_empty, NOWHERE, y).unflatten(1, (2, rows // 2))
    x = ((torch.arange(width, device=clicks.device) - center[..., 1:]) / unit).square()
    x = torch.where(is_empty, 0.0, x).unflatten(1, (2, rows // 2))
    nearest = y[:, :, 0, :, None] + x[:, :, 0, None, :]
    for i in range(1, rows // 2):
        nearest = torch.minimum(nearest, y[:, :, i, :, None] + x[:, :, i, None, :])
    return nearest.sqrt_().mul_(2).tanh_()


def clicks_of_group(clicks: Tensor, group: int, num_groups: int) -> Tensor:
    """Empties the clicks that belong to other groups.

    A click of order i belongs to group i. The last group also holds clicks of higher orders and a negative click of
    order 0; a click of an order below 0 belongs to none. Groups of the published code have room for one click per
    sign (the first group for two); here all clicks of one order are kept.

    Args:
        clicks: float [B,2P,3] of y, x, order, first P positive.
        group: 0 to num_groups - 1.
        num_groups: how many groups the model has.

    Returns:
        float [B,2P,3], -1 in the rows of other groups.
    """
    order = clicks[..., 2].long()
    is_negative = torch.arange(clicks.shape[1], device=clicks.device) >= clicks.shape[1] // 2
    is_last = (order >= num_groups) | ((order == 0) & is_negative)
    click_group = torch.where(is_last, num_groups - 1, order)
    return torch.where((click_group == group).unsqueeze(-1), clicks, -1.0)
