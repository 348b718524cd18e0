"""Which cells of SOLO's grids answer for which object. Wang et al., SOLO, ECCV 2020, section 3.3.1,
https://arxiv.org/abs/1912.04488, in the form of BoxLevelSet. n objects of an image, H W image, S grid."""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

RANGES = ((1, 96), (48, 192), (96, 384), (192, 768), (384, 2048))
LEAST_AREA = 10


class Shapes(NamedTuple):
    """What cells are found by, on the host: sizes float32 [n,2] (width, height of the box), centers float64 [n,2] (x,
    y, mean pixel of the mask), areas int64 [n] of the masks in pixels."""

    sizes: Tensor
    centers: Tensor
    areas: Tensor


class Cells(NamedTuple):
    """cells: int64 [m], flagged cells (row S + column) in rising order; objects: int64 [m], the object of each."""

    cells: Tensor
    objects: Tensor


def object_shapes(boxes: Sequence[Tensor], masks: Sequence[Tensor]) -> list[Shapes]:
    """boxes: B of float [n,4] x0, y0, x1, y1; masks: B of uint8 or bool [n,H,W] -> B Shapes.

    One transfer to the host.
    """
    rows = []
    for corners, mask in zip(boxes, masks):
        in_row, in_column = mask.sum(2, dtype=torch.int64), mask.sum(1, dtype=torch.int64)
        sums = [(count * torch.arange(count.shape[1], device=count.device)).sum(1) for count in (in_column, in_row)]
        size = (corners[:, 2:] - corners[:, :2]).double()
        rows.append(torch.cat([size, torch.stack([*sums, in_row.sum(1)], 1).double()], 1))
    shapes = []
    for row in torch.cat(rows).cpu().split([len(one) for one in rows]):
        area = row[:, 4:]
        shapes.append(Shapes(row[:, :2].float(), row[:, 2:4] / area.clamp_min(1), area[:, 0].long()))
    return shapes


def assign_cells(
    shapes: Shapes, size: tuple[int, int], *, grid: int, bounds: tuple[float, float], sigma: float = 0.2
) -> Cells:
    """The cells of one level. size: padded (H, W); grid: S; bounds: smallest and largest root of a box's area of this
    level, both inclusive (levels overlap); sigma: which part of the box around its centre counts.

    At most 3 x 3 cells around the centre's; an object of fewer than LEAST_AREA pixels has none; a later object takes a
    cell that an earlier one has.
    """
    scale = shapes.sizes.prod(1).sqrt()
    fits = (scale >= bounds[0]) & (scale <= bounds[1]) & (shapes.areas >= LEAST_AREA)
    half = 0.5 * shapes.sizes * sigma
    sides = torch.tensor([size[1], size[0]])
    # the published code finds the centre's cell in double and the bounds' in single precision: it matters where one
    # falls on the edge of a cell
    center = torch.floor_divide(shapes.centers / sides.double(), 1 / grid).long()
    first, last = (
        torch.floor_divide((shapes.centers.float() + sign * half) / sides.float(), 1 / grid).long() for sign in (-1, 1)
    )
    first = torch.maximum(first.clamp_min(0), center - 1)
    last = torch.minimum(last.clamp_max(grid - 1), center + 1)
    owner = np.full((grid, grid), -1)
    for i in torch.nonzero(fits)[:, 0].tolist():
        (left, top), (right, bottom) = first[i].tolist(), last[i].tolist()
        owner[top : bottom + 1, left : right + 1] = i
    cells = np.flatnonzero(owner >= 0)
    return Cells(torch.from_numpy(cells), torch.from_numpy(owner.ravel()[cells]))


def cell_labels(cells: Cells, labels: Tensor, *, grid: int, num_classes: int) -> Tensor:
    """labels: int64 [n] -> int64 [S,S] on their device, class of each cell's object, num_classes where none is."""
    flat = labels.new_full((grid * grid,), num_classes)
    places, objects = (part.to(labels.device, non_blocking=True) for part in cells)
    flat[places] = labels[objects]
    return flat.view(grid, grid)


def reduce_masks(masks: Tensor, factor: int, size: tuple[int, int]) -> Tensor:
    """masks: uint8 or bool [n,H,W] -> float32 [n,*size], reduced by `factor` bilinearly, 0.5 rounded up, and padded
    with 0 to the size; as OpenCV reduces bytes, which does it (on the host) where the factor is no divisor."""
    height, width = masks.shape[1:]
    if factor == 1:
        reduced = masks
    elif height % factor == 0 and width % factor == 0 and factor % 2 == 0:
        near = [slice(factor // 2 - 1 + i, None, factor) for i in (0, 1)]  # each target pixel is the mean of 2 x 2
        reduced = sum(masks[:, y, x].to(torch.uint8) for y in near for x in near) >= 2
    else:
        target = (int(width / factor + 0.5), int(height / factor + 0.5))
        bytes_ = masks.to("cpu", torch.uint8).numpy()
        small = [cv2.resize(mask, target, interpolation=cv2.INTER_LINEAR) for mask in bytes_]
        reduced = torch.from_numpy(np.array(small, np.uint8).reshape(-1, *target[::-1])).to(masks.device)
    reduced = reduced.float()[:, : size[0], : size[1]]
    return F.pad(reduced, [0, size[1] - reduced.shape[2], 0, size[0] - reduced.shape[1]])
