"""Targets and classification loss of the cells of a SOLO head, shared by box and mask losses."""

import torch
from torch import Tensor

from segkit.ops.instances.focal import sigmoid_focal_sum
from segkit.ops.instances.grid_assignment import Cells, cell_labels, reduce_masks


def focal_of_cells(level: Tensor, cells: list[Cells], labels: list[Tensor]) -> Tensor:
    """level: float [B,K,S,S] -> the sum of the focal loss over its cells."""
    num_classes, grid = level.shape[1:3]
    of_cells = [cell_labels(one, label, grid=grid, num_classes=num_classes) for one, label in zip(cells, labels)]
    return sigmoid_focal_sum(level, torch.stack(of_cells))


def box_targets(masks: Tensor, cells: Cells, stride: int, size: tuple[int, int]) -> Tensor:
    """masks: uint8 [n,H,W] of an image; cells: its flagged ones -> float32 [m,*size]; each object is reduced once."""
    used, place = (x.to(masks.device, non_blocking=True) for x in cells.objects.unique(return_inverse=True))
    return reduce_masks(masks[used], stride, size)[place]
