"""Boxes as masks: published rounding, and the corners by hand."""

import json

import numpy as np
import torch

from segkit.ops.instances.box_masks import box_masks, sampled_box_masks
from tests.instances.published import FOLDER


def test_masks_are_the_published_ones():
    known = json.loads((FOLDER / "boxsolov2_assign.json").read_text())
    masks = box_masks(np.float32(known["gt_bboxes"]), tuple(known["img_shape"]))
    for mask, (x0, y0, x1, y1, area) in zip(masks, known["generate_box_mask_bounds_xyxy_inclusive_and_area"]):
        rows, columns = np.nonzero(mask)
        assert (columns.min(), rows.min(), columns.max(), rows.max(), mask.sum()) == (x0, y0, x1, y1, area)


def test_halves_are_rounded_to_even_and_what_lies_outside_is_cut():
    masks = box_masks(np.array([[0.5, 1.5, 2.5, 2.4], [-3, -2, 1, 9], [7, 7, 9, 9], [2, 2, 1, 1]]), (4, 5))
    rows = [[y, x] for y, x in zip(*np.nonzero(masks[0]))]
    assert rows == [[2, 0], [2, 1], [2, 2]]
    assert masks[1].sum() == 4 * 2 and not masks[2].any() and not masks[3].any()
    assert box_masks(np.zeros((0, 4)), (4, 5)).shape == (0, 4, 5)


def test_sampled_masks_are_every_fourth_pixel_of_truncated_boxes():
    boxes = torch.tensor([[2.9, 5.9, 9.99, 14.0], [3.0, 6.0, 5.0, 9.0]])
    whole = torch.zeros(2, 17, 14)
    for mask, (x0, y0, x1, y1) in zip(whole, boxes.int().tolist()):
        mask[y0 : y1 + 1, x0 : x1 + 1] = 1
    assert torch.equal(sampled_box_masks(boxes, (17, 14)), whole[:, 2::4, 2::4])
    assert sampled_box_masks(boxes[:0], (17, 14)).shape == (0, 4, 3)
