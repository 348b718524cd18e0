"""Scores of single images: worked by hand on a few pixels."""

import numpy as np
import pytest
import torch

from segkit.metrics.worst_images import instance_counts, multi_label_scores, semantic_scores


def encoded(*boxes: tuple[int, int, int, int], side: int = 10) -> list[dict]:
    from pycocotools import mask as coco_mask

    codes = []
    for y0, y1, x0, x1 in boxes:
        mask = np.zeros((side, side), np.uint8, order="F")
        mask[y0:y1, x0:x1] = 1
        codes.append(coco_mask.encode(mask))
    return codes


def test_a_label_map():
    truth = np.array([[0, 0, 1, 1], [0, 0, 255, 1]], np.uint8)
    labels = torch.tensor([[0, 0, 0, 1], [0, 1, 2, 1]])
    scores = semantic_scores(labels, truth, num_classes=4, ignore=255)
    # class 0: 3 of 5 pixels; class 1: 2 of 4; the ignored pixel is all that class 2 has
    assert scores.ious[:2] == pytest.approx([60, 50]) and np.isnan(scores.ious[2:]).all()
    assert scores.miou == pytest.approx(55) and scores.accuracy == pytest.approx(100 * 5 / 7) and scores.pixels == 7


def test_an_image_without_a_scored_pixel_has_no_score():
    scores = semantic_scores(np.zeros((2, 2), np.uint8), np.full((2, 2), 255, np.uint8), 1, 255)
    assert (scores.miou, scores.accuracy, scores.pixels) == (None, None, 0)


def test_a_click_target_ignores_values_below_zero():
    scores = semantic_scores(np.array([[1, 1, 0]]), np.array([[1, 0, -1]]), 2, -1)
    assert scores.ious == pytest.approx([0, 50]) and scores.pixels == 2


def test_a_label_that_is_no_class_is_refused():
    with pytest.raises(ValueError, match="label 7 is outside the classes"):
        semantic_scores(np.zeros((1, 2), np.uint8), np.array([[0, 7]], np.uint8), 2, 255)


def test_masks_that_overlap():
    truth = np.array([[[1, 1, 0, 255]], [[1, 0, 0, 0]]], np.uint8)
    positive = np.array([[[1, 0, 0, 1]], [[1, 1, 0, 0]]], bool)
    scores = multi_label_scores(positive, truth, 255)
    assert scores.ious == pytest.approx([50, 50]) and scores.miou == pytest.approx(50)
    assert scores.accuracy == pytest.approx(100 * 5 / 7) and scores.pixels == 7


def test_instances_are_matched_once_within_their_class():
    objects = encoded((0, 4, 0, 4), (5, 9, 5, 9), (0, 2, 6, 8))
    # the first object twice, the second as another class, the third not at all
    found = encoded((0, 4, 0, 4), (0, 4, 0, 3), (5, 9, 5, 9))
    counts = instance_counts(found, [0, 0, 1], objects, [0, 0, 0])
    assert (counts.hits, counts.missed, counts.wrong) == (1, 2, 2)
    assert counts.f1 == pytest.approx(100 * 2 / (2 + 2 + 2))
    assert counts.is_missed.tolist() == [False, True, True] and counts.is_wrong.tolist() == [False, True, True]


def test_a_detection_in_a_crowd_is_not_wrong_and_a_crowd_is_not_missed():
    objects = encoded((0, 10, 0, 5), (0, 4, 6, 10))
    found = encoded((0, 4, 6, 10), (2, 5, 1, 4), (6, 9, 6, 9))
    counts = instance_counts(found, [0, 0, 0], objects, [0, 0], crowd=[True, False])
    assert (counts.hits, counts.missed, counts.wrong) == (1, 0, 1) and counts.is_wrong.tolist() == [False, False, True]


def test_an_image_without_objects():
    assert instance_counts([], [], [], []).f1 is None
    assert instance_counts(encoded((0, 2, 0, 2)), [0], [], []).f1 == 0.0
