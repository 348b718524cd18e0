"""Matrix NMS in its published forms, and by hand."""

import math

import pytest
import torch

from segkit.ops.instances.matrix_nms import best_scores, matrix_nms, points_nms
from tests.instances.published import load, off


@pytest.mark.parametrize("kernel", ["gaussian", "linear"])
def test_scores_and_choice_are_the_published_ones(kernel):
    known = load("matrix_nms")
    decayed = matrix_nms(known["masks"], known["labels"], known["scores"], kernel=kernel)
    assert off(decayed[known[f"{kernel}_old_sorted_order"]], known[f"{kernel}_old_scores"]) < 1e-6
    kept = best_scores(decayed, threshold=0.025, limit=10)
    assert torch.equal(kept, known[f"{kernel}_keep"])
    assert torch.equal(known["labels"][kept], known[f"{kernel}_labels"])
    assert off(decayed[kept], known[f"{kernel}_scores"]) < 1e-6


def test_cells_that_are_not_the_largest_are_the_published_ones():
    known = load("matrix_nms")
    assert torch.equal(points_nms(known["points_nms_in"]), known["points_nms_out"])


def test_by_hand():
    masks = torch.zeros(4, 1, 8, dtype=torch.bool)
    masks[0, 0, :4] = masks[1, 0, 2:6] = masks[2, 0, 2:6] = True
    scores, labels = torch.tensor([0.5, 0.9, 0.8, 0.7]), torch.tensor([1, 1, 2, 1])
    # the first overlaps the second by 2 of 6 pixels; the third is of another class; the last one is empty
    expected = [0.5 * math.exp(-2 / 9), 0.9, 0.8, 0.7]
    assert matrix_nms(masks, labels, scores).tolist() == pytest.approx(expected)
    assert matrix_nms(masks, labels, scores, kernel="linear").tolist() == pytest.approx([0.5 * 2 / 3, 0.9, 0.8, 0.7])
    assert best_scores(scores, threshold=0.7, limit=2).tolist() == [1, 2]
    assert best_scores(scores, threshold=0.7, limit=9).tolist() == [1, 2, 3]
    with pytest.raises(ValueError, match="must be one of 'gaussian', 'linear'"):
        matrix_nms(masks, labels, scores, kernel="box")
    assert matrix_nms(masks[:0], labels[:0], scores[:0]).shape == (0,)
