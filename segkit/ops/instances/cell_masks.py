"""Masks of those cells of a SOLO head that are assigned to objects; the other cells' masks are not computed.

Wang et al., SOLOv2, NeurIPS 2020, section 3.2, https://arxiv.org/abs/2003.10152. B batch, D channels, S grid, n
instances, h w features.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from segkit.ops.averaging import full_precision
from segkit.ops.instances.grid_assignment import Cells
from segkit.ops.resizing import resize


def cell_masks(kernels: Tensor, features: Tensor, cells: Sequence[Cells], *, size: tuple[int, int]) -> Tensor:
    """Applies each assigned cell's kernel to the mask features (a 1 x 1 convolution) and resizes the result.

    Args:
        kernels: float [B,D,S,S] of one level.
        features: float [B,D,h,w].
        cells: B of the level's assigned cells.
        size: height and width of the masks.

    Returns:
        float32 logits [n,*size], in the order of images and cells.
    """
    masks = []
    with torch.autocast(features.device.type, enabled=False):
        for kernel, maps, assigned in zip(full_precision(kernels), full_precision(features), cells):
            index = assigned.cells.to(kernel.device, non_blocking=True)
            masks.append(kernel.flatten(1)[:, index].T @ maps.flatten(1))
    logits = torch.cat(masks).unflatten(1, features.shape[2:])
    return resize(logits, size=size)
