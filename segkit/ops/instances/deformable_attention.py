"""Multi-scale deformable attention, and the positions of the cells of feature maps.

Zhu et al., Deformable DETR, ICLR 2021, https://arxiv.org/abs/2010.04159. B batch, Q queries, M attention heads, L
levels, P sampling points per level, D channels of a head.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from segkit.ops.averaging import full_precision


def deformable_attention(values: Tensor, sizes: Sequence[tuple[int, int]], points: Tensor, weights: Tensor) -> Tensor:
    """Sums bilinear samples of several feature maps with attention weights (eq. 3 without its projections).

    Args:
        values: float [B,sum of h w,M,D], the L maps one after the other, each row by row.
        sizes: (h, w) of each map.
        points: float [B,Q,M,L,P,2], sampling points, x and y in 0..1 of a map; samples outside of it are 0.
        weights: float [B,Q,M,L,P], attention weights.

    Returns:
        float32 [B,Q,M * D].
    """
    batch, _, heads, channels = values.shape
    with torch.autocast(values.device.type, enabled=False):
        points, weights = full_precision(points), full_precision(weights)
        maps = full_precision(values).permute(0, 2, 3, 1).flatten(0, 1).split([h * w for h, w in sizes], 2)
        grids = (2 * points - 1).transpose(1, 2).flatten(0, 1)
        head_weights = weights.transpose(1, 2).flatten(0, 1).unsqueeze(1)
        total = weights.new_zeros(())
        for i, (level, size) in enumerate(zip(maps, sizes)):
            samples = F.grid_sample(level.unflatten(2, size), grids[:, :, i], padding_mode="zeros", align_corners=False)
            total = total + (samples * head_weights[:, :, :, i]).sum(-1)
    return total.view(batch, heads * channels, -1).transpose(1, 2)


def cell_centers(sizes: Sequence[tuple[int, int]], device: torch.device) -> Tensor:
    """Returns the centers of the cells of several maps, one map after the other, each row by row.

    Args:
        sizes: (h, w) of each map.
        device: of the result.

    Returns:
        float32 [sum of h w,2], x and y in 0..1.
    """
    centers = []
    for height, width in sizes:
        y = (torch.arange(height, device=device) + 0.5) / height
        x = (torch.arange(width, device=device) + 0.5) / width
        centers.append(torch.stack([x.expand(height, -1), y.unsqueeze(1).expand(-1, width)], -1).flatten(0, 1))
    return torch.cat(centers)


def sine_positions(size: tuple[int, int], channels: int, device: torch.device) -> Tensor:
    """Returns the sine positional encoding of a map: y in the first half of the channels, x in the second.

    Coordinates are scaled to 2 pi per side; wave lengths run from 2 pi to 10000 * 2 pi. Carion et al., DETR, ECCV 2020,
    section A.4; Vaswani et al., 2017, section 3.5.

    Args:
        size: (h, w) of the map.
        channels: of the encoding, a multiple of 4.
        device: of the result.

    Returns:
        float32 [h * w,channels].
    """
    half = channels // 2
    steps = torch.arange(half, device=device, dtype=torch.float32)
    waves = 10000 ** (2 * (steps // 2) / half)
    codes = []
    for side in size:
        position = torch.arange(1, side + 1, device=device, dtype=torch.float32)
        angles = (position / (side + 1e-6) * (2 * math.pi)).unsqueeze(1) / waves
        codes.append(torch.stack([angles[:, ::2].sin(), angles[:, 1::2].cos()], 2).flatten(1))
    rows, columns = codes
    both = [rows.unsqueeze(1).expand(-1, size[1], -1), columns.expand(size[0], -1, -1)]
    return torch.cat(both, -1).flatten(0, 1)
