"""Attention to a few places of several maps. Zhu et al., Deformable DETR, ICLR 2021, https://arxiv.org/abs/2010.04159.
B images, Q queries, M attention heads, L maps, P places per map, D channels of a head."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from segkit.ops.averaging import full_precision


def deformable_attention(values: Tensor, sizes: Sequence[tuple[int, int]], places: Tensor, weights: Tensor) -> Tensor:
    """values: float [B,sum of h w,M,D], L maps of these sizes (h, w) one after the other, each row by row; places:
    float [B,Q,M,L,P,2], x and y in 0..1 of a map; weights: float [B,Q,M,L,P] -> float32 [B,Q,M * D] (eq. 3,
    without its projections): bilinear samples, 0 outside of a map."""
    batch, _, heads, channels = values.shape
    with torch.autocast(values.device.type, enabled=False):
        places, weights = full_precision(places), full_precision(weights)
        maps = full_precision(values).permute(0, 2, 3, 1).flatten(0, 1).split([h * w for h, w in sizes], 2)
        grids = (2 * places - 1).transpose(1, 2).flatten(0, 1)
        shares = weights.transpose(1, 2).flatten(0, 1).unsqueeze(1)
        total = 0
        for i, (level, size) in enumerate(zip(maps, sizes)):
            samples = F.grid_sample(level.unflatten(2, size), grids[:, :, i], padding_mode="zeros", align_corners=False)
            total = total + (samples * shares[:, :, :, i]).sum(-1)
    return total.view(batch, heads * channels, -1).transpose(1, 2)


def cell_centers(sizes: Sequence[tuple[int, int]], device: torch.device) -> Tensor:
    """-> float32 [sum of h w,2], x and y in 0..1 of the centre of every cell of every map."""
    parts = []
    for height, width in sizes:
        y, x = ((torch.arange(side, device=device) + 0.5) / side for side in (height, width))
        parts.append(torch.stack([x.expand(height, -1), y.unsqueeze(1).expand(-1, width)], -1).flatten(0, 1))
    return torch.cat(parts)


def sine_positions(size: tuple[int, int], channels: int, device: torch.device) -> Tensor:
    """-> float32 [h * w,channels], the places of a map as sines and cosines: of y in the first half of the channels, of
    x in the second, over wave lengths from 2 pi to 10000 2 pi of a side of 2 pi (Carion et al., DETR, ECCV 2020,
    section A.4; Vaswani et al., 2017, section 3.5)."""
    half = channels // 2
    steps = torch.arange(half, device=device, dtype=torch.float32)
    waves = 10000 ** (2 * (steps // 2) / half)
    codes = []
    for side in size:
        place = torch.arange(1, side + 1, device=device, dtype=torch.float32)
        angles = (place / (side + 1e-6) * (2 * math.pi)).unsqueeze(1) / waves
        codes.append(torch.stack([angles[:, ::2].sin(), angles[:, 1::2].cos()], 2).flatten(1))
    rows, columns = codes
    both = [rows.unsqueeze(1).expand(-1, size[1], -1), columns.expand(size[0], -1, -1)]
    return torch.cat(both, -1).flatten(0, 1)
