"""Assignment of objects to the cells of SOLO's grids. Wang et al., SOLO, ECCV 2020, section 3.3.1,
https://arxiv.org/abs/1912.04488, in the form of BoxLevelSet.

n objects of an image, m assigned cells, H W image, S grid.
"""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

RANGES = ((1, 96), (48, 192), (96, 384), (192, 768), (384, 2048))
"""Of each level, the smallest and largest square root of a box's area in pixels."""

LEAST_AREA = 10
"""Pixels of the smallest mask that gets cells."""


class Shapes(NamedTuple):
    """The sizes and positions of the objects of an image, on the host.

    Attributes:
        sizes: float32 [n,2], width and height of each box.
        centers: float64 [n,2], x and y of the mean pixel of each mask.
        areas: int64 [n], pixels of each mask.
    """

    sizes: Tensor
    centers: Tensor
    areas: Tensor


class Cells(NamedTuple):
    """The cells of one level of an image that are assigned to objects.

    Attributes:
        cells: int64 [m], row S + column, increasing.
        objects: int64 [m], the object of each cell.
    """

    cells: Tensor
    objects: Tensor


def object_shapes(boxes: Sequence[Tensor], masks: Sequence[Tensor]) -> list[Shapes]:
    """Measures the objects of a batch, with one transfer to the host.

    Args:
        boxes: B of float [n,4] x0, y0, x1, y1 in pixels.
        masks: B of uint8 or bool [n,H,W].

    Returns:
        B Shapes.
    """
    tables = []
    for corners, mask in zip(boxes, masks):
        size = (corners[:, 2:] - corners[:, :2]).double()
        tables.append(torch.cat([size, _sums(mask)], 1))
    shapes = []
    for table in torch.cat(tables).cpu().split([len(table) for table in tables]):
        area = table[:, 4:]
        shapes.append(Shapes(table[:, :2].float(), table[:, 2:4] / area.clamp_min(1), area[:, 0].long()))
    return shapes


def _sums(masks: Tensor) -> Tensor:
    """The sums of x and of y over the pixels of each mask, and their number, double [n,3]; whole numbers."""
    if masks.device.type == "cpu":  # no copy of the masks in wider numbers
        arrays = masks.view(torch.uint8).numpy() if masks.dtype == torch.bool else masks.numpy()
        moments = [cv2.moments(mask, binaryImage=True) for mask in arrays]
        values = [[of_mask[name] for name in ("m10", "m01", "m00")] for of_mask in moments]
        return torch.tensor(values, dtype=torch.float64).view(-1, 3)
    in_row, in_column = masks.sum(2, dtype=torch.int64), masks.sum(1, dtype=torch.int64)
    sums = [(count * torch.arange(count.shape[1], device=count.device)).sum(1) for count in (in_column, in_row)]
    return torch.stack([*sums, in_row.sum(1)], 1).double()


def assign_cells(
    shapes: Shapes, size: tuple[int, int], *, grid: int, bounds: tuple[float, float], sigma: float = 0.2
) -> Cells:
    """Assigns the cells of one level to the objects whose center region they meet.

    An object has at most the 3 x 3 cells around the cell of its center. An object of fewer than LEAST_AREA pixels has
    none. Where two objects claim a cell, the later one has it.

    Args:
        shapes: the objects of an image.
        size: (H, W) of the padded image.
        grid: S.
        bounds: smallest and largest square root of a box's area on this level, both inclusive; levels overlap.
        sigma: size of the center region over the size of the box.

    Returns:
        The assigned cells.
    """
    scale = shapes.sizes.prod(1).sqrt()
    fits = (scale >= bounds[0]) & (scale <= bounds[1]) & (shapes.areas >= LEAST_AREA)
    half = 0.5 * shapes.sizes * sigma
    sides = torch.tensor([size[1], size[0]])
    # the published code finds the cell of the center in double precision and those of the region's corners in single
    # precision, which matters where one falls on the edge of a cell
    center = torch.floor_divide(shapes.centers / sides.double(), 1 / grid).long()
    first = torch.floor_divide((shapes.centers.float() - half) / sides.float(), 1 / grid).long()
    last = torch.floor_divide((shapes.centers.float() + half) / sides.float(), 1 / grid).long()
    first = torch.maximum(first.clamp_min(0), center - 1)
    last = torch.minimum(last.clamp_max(grid - 1), center + 1)
    owner = np.full((grid, grid), -1)
    for i in torch.nonzero(fits)[:, 0].tolist():
        left, top = first[i].tolist()
        right, bottom = last[i].tolist()
        owner[top : bottom + 1, left : right + 1] = i
    cells = np.flatnonzero(owner >= 0)
    return Cells(torch.from_numpy(cells), torch.from_numpy(owner.ravel()[cells]))


def cell_labels(cells: Cells, labels: Tensor, *, grid: int, num_classes: int) -> Tensor:
    """Returns the class of each cell's object.

    Args:
        cells: the assigned cells of an image.
        labels: int64 [n], the classes of its objects.
        grid: S.
        num_classes: K, the label of cells without an object.

    Returns:
        int64 [S,S] on the device of the labels.
    """
    flat = labels.new_full((grid * grid,), num_classes)
    index = cells.cells.to(labels.device, non_blocking=True)
    objects = cells.objects.to(labels.device, non_blocking=True)
    flat[index] = labels[objects]
    return flat.view(grid, grid)


def reduce_masks(masks: Tensor, factor: int, size: tuple[int, int]) -> Tensor:
    """Reduces masks bilinearly as OpenCV does with bytes (0.5 is rounded up), and pads them with 0.

    Where the factor does not divide the sides of the masks, OpenCV does it on the host.

    Args:
        masks: uint8 or bool [n,H,W].
        factor: how many times smaller the result is.
        size: height and width of the result with its padding.

    Returns:
        float32 [n,*size].
    """
    height, width = masks.shape[1:]
    if factor == 1:
        reduced = masks
    elif height % factor == 0 and width % factor == 0 and factor % 2 == 0:
        # each pixel of the result is the mean of the 2 x 2 pixels in the middle of its block
        upper, lower = slice(factor // 2 - 1, None, factor), slice(factor // 2, None, factor)
        total = masks[:, upper, upper].to(torch.uint8)
        for rows, columns in ((upper, lower), (lower, upper), (lower, lower)):
            total = total + masks[:, rows, columns].to(torch.uint8)
        reduced = total >= 2
    else:
        target = (int(width / factor + 0.5), int(height / factor + 0.5))
        bytes_ = masks.to("cpu", torch.uint8).numpy()
        small = [cv2.resize(mask, target, interpolation=cv2.INTER_LINEAR) for mask in bytes_]
        reduced = torch.from_numpy(np.array(small, np.uint8).reshape(-1, *target[::-1])).to(masks.device)
    reduced = reduced.float()[:, : size[0], : size[1]]
    return F.pad(reduced, [0, size[1] - reduced.shape[2], 0, size[0] - reduced.shape[1]])
