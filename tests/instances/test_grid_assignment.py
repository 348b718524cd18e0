"""Cells of SOLO's grids against the published assignment, exactly, and reduced masks against OpenCV."""

import json

import cv2
import numpy as np
import pytest
import torch

from segkit.ops.instances.box_masks import box_masks
from segkit.ops.instances.grid_assignment import RANGES, assign_cells, cell_labels, object_shapes, reduce_masks
from tests.instances.published import FOLDER


@pytest.fixture(scope="module")
def known():
    return json.loads((FOLDER / "boxsolov2_assign.json").read_text())


def padded_masks(known):
    height, width = known["img_shape"]
    masks = torch.zeros(len(known["gt_bboxes"]), *known["padded_shape"], dtype=torch.uint8)
    masks[:, :height, :width] = torch.from_numpy(box_masks(np.float32(known["gt_bboxes"]), (height, width)))
    return masks


def test_cells_labels_and_masks_are_the_published_ones(known):
    masks, boxes, labels = padded_masks(known), torch.tensor(known["gt_bboxes"]), torch.tensor(known["gt_labels"])
    (shapes,) = object_shapes([boxes], [masks])
    for level, bounds in zip(known["levels"], RANGES):
        grid = level["num_grid"]
        cells = assign_cells(shapes, tuple(known["padded_shape"]), grid=grid, bounds=bounds)
        assert cells.cells.tolist() == [entry["cell"] for entry in level["positives"]]
        assert labels[cells.objects].tolist() == [entry["cate"] for entry in level["positives"]]
        of_cells = cell_labels(cells, labels, grid=grid, num_classes=80)
        flagged = [[y, x, int(of_cells[y, x])] for y, x in torch.nonzero(of_cells != 80).tolist()]
        assert flagged == level["cate_cells_not_bg"]
        factor = known["padded_shape"][0] // level["featmap"][0]
        small = reduce_masks(masks, factor, tuple(level["featmap"]))[cells.objects]
        for mask, entry in zip(small, level["positives"]):
            rows, columns = torch.nonzero(mask, as_tuple=True)
            bounds_of = [columns.min(), rows.min(), columns.max(), rows.max()]
            assert mask.sum() == entry["mask_sum"] and [int(side) for side in bounds_of] == entry["mask_bounds"]


@pytest.mark.parametrize("factor, size", [(2, (24, 32)), (4, (24, 32)), (8, (32, 16)), (4, (23, 30)), (3, (21, 22))])
def test_reduced_masks_are_those_of_opencv(factor, size):
    rng = np.random.default_rng(0)
    masks = (rng.random((5, *size)) < 0.5).astype(np.uint8)
    small = (int(size[0] / factor + 0.5), int(size[1] / factor + 0.5))
    published = np.stack([cv2.resize(mask, small[::-1], interpolation=cv2.INTER_LINEAR) for mask in masks])
    ours = reduce_masks(torch.from_numpy(masks), factor, (small[0] + 1, small[1]))
    assert not ours[:, -1].any() and np.array_equal(ours[:, :-1].numpy(), published)


def test_later_objects_take_shared_cells_and_small_ones_have_none():
    masks = torch.zeros(3, 32, 32, dtype=torch.uint8)
    masks[0, 4:12, 4:12] = masks[1, 4:12, 8:16] = masks[2, 20:23, 20:23] = 1
    boxes = torch.tensor([[4.0, 4, 12, 12], [8, 4, 16, 12], [20, 20, 23, 23]])
    (shapes,) = object_shapes([boxes], [masks])
    assert shapes.centers.tolist() == [[7.5, 7.5], [11.5, 7.5], [21, 21]] and shapes.areas.tolist() == [64, 64, 9]
    cells = assign_cells(shapes, (32, 32), grid=2, bounds=(1, 96))
    assert cells.cells.tolist() == [0] and cells.objects.tolist() == [1]
    assert not len(assign_cells(shapes, (32, 32), grid=2, bounds=(9, 96)).cells)
    (nothing,) = object_shapes([boxes[:0]], [masks[:0]])
    assert not len(assign_cells(nothing, (32, 32), grid=2, bounds=(1, 96)).cells)
