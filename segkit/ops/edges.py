"""Edges of label maps and slopes of probability maps. B batch, K classes, H W image."""

import torch
import torch.nn.functional as F
from torch import Tensor


def label_edges(mask: Tensor, radius: int = 1, ignore: int = 255) -> Tensor:
    """mask: int64 [B,H,W] -> int64 [B,H,W]: 1 where another class lies within `radius` pixels (a square), 0 elsewhere,
    `ignore` where the mask is. Ignored pixels make no edge."""
    valid = mask != ignore
    labels = mask.to(torch.float32).unsqueeze(1)
    high = torch.where(valid.unsqueeze(1), labels, -1.0)
    low = torch.where(valid.unsqueeze(1), -labels, -torch.inf)
    side = 2 * radius + 1
    highest = F.max_pool2d(high, side, 1, radius).squeeze(1)
    lowest = -F.max_pool2d(low, side, 1, radius).squeeze(1)
    return torch.where(valid, (highest != lowest).long(), ignore)


def _padded(maps: Tensor, radius: int) -> Tensor:
    return F.pad(maps, (radius, radius, radius, radius), mode="replicate")


def triangle_smooth(maps: Tensor, radius: int) -> Tensor:
    """[B,K,H,W] filtered by the triangle 1, .., radius + 1, .., 1 along both axes: two boxes of width radius + 1."""
    if radius == 0:
        return maps
    maps = F.avg_pool2d(_padded(maps, radius), radius + 1, 1)
    return F.avg_pool2d(maps, radius + 1, 1)


def slope(maps: Tensor) -> Tensor:
    """Length of the gradient by central differences, replicated borders: [B,K,H,W] -> [B,K,H,W]. Its own gradient is 0
    where the map is flat."""
    padded = _padded(maps, 1)
    dy = (padded[:, :, 2:, 1:-1] - padded[:, :, :-2, 1:-1]) / 2
    dx = (padded[:, :, 1:-1, 2:] - padded[:, :, 1:-1, :-2]) / 2
    return _length(dy, dx)


def sobel(maps: Tensor) -> Tensor:
    """Length of the Sobel gradient (weights 1, 2, 1), replicated borders: [B,K,H,W] -> [B,K,H,W]."""
    padded = _padded(maps, 1)
    dy = padded[:, :, 2:] - padded[:, :, :-2]
    dx = padded[:, :, :, 2:] - padded[:, :, :, :-2]
    dy = dy[..., :-2] + 2 * dy[..., 1:-1] + dy[..., 2:]
    dx = dx[:, :, :-2] + 2 * dx[:, :, 1:-1] + dx[:, :, 2:]
    return _length(dy, dx)


def _length(dy: Tensor, dx: Tensor) -> Tensor:
    squared = dy.square() + dx.square()
    # the root's slope at 0 is infinite: it is never taken there
    is_flat = squared == 0
    return torch.where(is_flat, 0.0, torch.where(is_flat, 1.0, squared).sqrt())
