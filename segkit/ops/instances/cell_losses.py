"""Targets and classification loss of the cells of a SOLO head, shared by box and mask losses.

B batch, K classes, S grid, n objects of an image, m cells that are assigned to objects, H W image.
"""

import torch
from torch import Tensor

from segkit.ops.instances.focal import sigmoid_focal_sum
from segkit.ops.instances.grid_assignment import Cells, cell_labels, reduce_masks


def focal_of_cells(logits: Tensor, cells: list[Cells], labels: list[Tensor]) -> Tensor:
    """Sums the focal loss over all cells of one level.

    Args:
        logits: float [B,K,S,S].
        cells: B of the cells that are assigned to objects.
        labels: B of int64 [n], the classes of the objects.

    Returns:
        float32 [].
    """
    num_classes, grid = logits.shape[1:3]
    targets = [
        cell_labels(image_cells, image_labels, grid=grid, num_classes=num_classes)
        for image_cells, image_labels in zip(cells, labels)
    ]
    return sigmoid_focal_sum(logits, torch.stack(targets))


def box_targets(masks: Tensor, cells: Cells, stride: int, size: tuple[int, int]) -> Tensor:
    """Gives each assigned cell the mask of its object at a lower resolution; each object is reduced once.

    Args:
        masks: uint8 [n,H,W] of an image.
        cells: the assigned cells of the image.
        stride: pixels of the image per pixel of the result.
        size: (h, w) of the result.

    Returns:
        float32 [m,h,w].
    """
    objects, inverse = cells.objects.unique(return_inverse=True)
    objects = objects.to(masks.device, non_blocking=True)
    inverse = inverse.to(masks.device, non_blocking=True)
    return reduce_masks(masks[objects], stride, size)[inverse]
