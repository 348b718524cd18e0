"""Masks of the flagged cells of a SOLO head alone: others are never made. Wang et al., SOLOv2, NeurIPS 2020, section
3.2, https://arxiv.org/abs/2003.10152. B images, D channels, S grid, n instances, h w features."""

from collections.abc import Sequence

import torch
from torch import Tensor

from segkit.ops.averaging import full_precision
from segkit.ops.instances.grid_assignment import Cells
from segkit.ops.resizing import resize


def cell_masks(kernels: Tensor, features: Tensor, cells: Sequence[Cells], *, size: tuple[int, int]) -> Tensor:
    """kernels: float [B,D,S,S]; features: float [B,D,h,w]; cells: B of one level; size: of its masks -> float32 logits
    [n,*size], in the order of images and cells: the products of each cell's kernel with the features, resized."""
    with torch.autocast(features.device.type, enabled=False):
        parts = [
            kernel.flatten(1)[:, one.cells.to(kernel.device, non_blocking=True)].T @ maps.flatten(1)
            for kernel, maps, one in zip(full_precision(kernels), full_precision(features), cells)
        ]
    logits = torch.cat(parts).unflatten(1, features.shape[2:])
    return resize(logits, size=size)
