"""Objects that start from a mask, and masks of which a click changes a part alone."""

import numpy as np
import pytest
import torch
from pycocotools import mask as coco_mask

from segkit.api import click_predictor
from segkit.ops.interactive.progressive_merge import merge_at
from segkit.registry import ConfigError
from segkit.runners.interactive.advance import Advance
from segkit.runners.interactive.clicker import Click
from segkit.runners.interactive.session import Session
from segkit.runners.interactive.simulate import simulate
from segkit.runners.interactive.zoom import Box
from segkit.settings import ClickInference
from tests.interactive.doubles import Echo, drawn

BEFORE = np.array([[1, 1, 0, 0, 0], [1, 1, 0, 0, 0], [0, 0, 0, 0, 0], [0, 0, 0, 0, 0]], bool)
AFTER = np.array([[0, 1, 0, 0, 0], [1, 1, 0, 0, 0], [0, 0, 0, 0, 1], [0, 0, 0, 1, 0]], bool)
"""A corner is gone, and two pixels that touch by their corners have come."""


@pytest.mark.parametrize(
    ("click", "expected"),
    [
        ((0, 0), [[0, 1, 0, 0, 0], [1, 1, 0, 0, 0], [0] * 5, [0] * 5]),
        ((3, 3), [[1, 1, 0, 0, 0], [1, 1, 0, 0, 0], [0, 0, 0, 0, 1], [0, 0, 0, 1, 0]]),
        ((3, 0), BEFORE.tolist()),
    ],
)
def test_a_click_moves_the_changed_part_that_it_lies_on(click, expected):
    assert np.array_equal(merge_at(AFTER, BEFORE, *click), np.array(expected, bool))


def test_the_published_fault_moves_all_that_has_not_changed():
    beside = merge_at(AFTER, BEFORE, 3, 0, moves_rest=True)
    assert np.array_equal(beside, BEFORE | ~(AFTER ^ BEFORE))
    on = merge_at(AFTER, BEFORE, 1, 1, moves_rest=True)
    assert np.array_equal(on, BEFORE & (AFTER ^ BEFORE))


def start_of(mask: np.ndarray) -> np.ndarray:
    """The object without its left third, and a square too much."""
    start = (mask == 1).astype(np.uint8)
    start[:, :30] = 0
    start[:12, :16] = 1
    return start


class Watched(Echo):
    def __init__(self):
        super().__init__()
        self.previous = []

    def guidance(self, clicks, size, previous=None):
        self.previous.append(previous[0, 0].clone())
        return super().guidance(clicks, size, previous)


def test_the_start_is_read_once_clicked_on_and_scored():
    image, mask = drawn(5)
    start, network = start_of(mask), Watched()
    settings = ClickInference(zoom=None, flip=False, max_clicks=3, target_iou=1.01)
    (found,) = simulate(network, [image], [mask], settings, starts=[torch.from_numpy(start)])
    assert torch.equal(network.previous[0], torch.from_numpy(start).float())
    assert not torch.equal(network.previous[1], network.previous[0])
    # the deepest error of the start: the square, whose middle lies 6 pixels from outside
    y, x, positive = found["clicks"][0]
    assert (y, x, positive) == (5, 5, 0)


def test_a_merged_mask_keeps_what_no_click_lies_on():
    image, mask = drawn(5)
    start = start_of(mask)
    settings = dict(zoom=None, flip=False, max_clicks=1, target_iou=1.01)
    (merged,) = simulate(Echo(), [image], [mask], ClickInference(**settings, merge=True), starts=[start])
    (plain,) = simulate(Echo(), [image], [mask], ClickInference(**settings), starts=[start])
    y, x, _ = merged["clicks"][0].astype(int)
    assert np.array_equal(merged["clicks"], plain["clicks"])
    expected = merge_at(plain["labels"] == 1, start == 1, y, x)
    assert np.array_equal(merged["labels"] == 1, expected) and not np.array_equal(expected, plain["labels"] == 1)
    # without a mask to start from there is nothing to merge with
    alone = [simulate(Echo(), [image], [mask], ClickInference(**settings, merge=flag))[0] for flag in (True, False)]
    assert np.array_equal(alone[0]["labels"], alone[1]["labels"])


def test_the_zoom_encloses_the_merged_mask():
    image, mask = drawn(5)
    zoom = dict(target=64, skip=0, min_crop=8)
    settings = ClickInference(zoom=zoom, flip=False, max_clicks=2, target_iou=1.01, merge=True)
    network = Echo()
    simulate(network, [image], [mask], settings, starts=[start_of(mask)])
    # the first click is negative: the part beside the start is not merged, so that the second click sees the start's
    # box; with skip=0 and a start the first pass is zoomed, too
    assert all(max(shape[-2:]) == 64 for shape in network.forwards)


@pytest.mark.parametrize("encloses_start", [True, False])
def test_the_first_click_sees_the_box_of_the_start_or_the_whole_image(encloses_start):
    image, _ = drawn(5)
    start = torch.zeros(64, 80)
    start[20:40, 30:50] = 1
    zoom = dict(target=(48, 64), skip=-1, min_crop=8, encloses_start=encloses_start)
    advance, session = Advance(Echo(), ClickInference(zoom=zoom, flip=False)), Session(image, start=start)
    session.add(Click(5, 5, False))
    advance([session])
    # rows 20 to 39 are 20, 28 times 1.4: 29.5 - 14 and 29.5 + 14, halves to the even number
    assert session.box == (Box(16, 44, 26, 54) if encloses_start else Box(0, 63, 0, 79))


def test_a_user_merges_into_a_mask_as_the_scores_do():
    image, mask = drawn(5)
    start = start_of(mask)
    settings = dict(zoom=dict(target=64, min_crop=8), flip=False, merge=True)
    scored = ClickInference(**settings, max_clicks=3, target_iou=1.01, keep_masks=True)
    (found,) = simulate(Echo(), [image], [mask], scored, starts=[start])
    clicks = click_predictor(Echo(), **settings)
    clicks.set_image(image.permute(1, 2, 0).numpy())
    clicks.set_mask(start)
    assert np.array_equal(clicks.mask, start == 1)
    for (y, x, positive), code in zip(found["clicks"], found["masks"], strict=True):
        merged = clicks.click(float(y), float(x), positive > 0.5)
        assert np.array_equal(merged, coco_mask.decode(code) == 1)
    assert np.array_equal(clicks.mask, found["labels"] == 1)
    # the network goes on from its own answer, and a step back is one to the merged mask
    assert not np.array_equal(clicks.probabilities > 0.49, clicks.mask)
    assert np.array_equal(clicks.undo(), coco_mask.decode(found["masks"][1]) == 1)
    clicks.reset()
    assert not clicks.mask.any()


def test_a_model_without_previous_mask_cannot_start_from_one():
    image, mask = drawn(5)
    with pytest.raises(ConfigError, match="this model reads none"):
        simulate(Echo(has_previous=False), [image], [mask], ClickInference(), starts=[start_of(mask)])
    with pytest.raises(ValueError, match="mask of"):
        simulate(Echo(), [image], [mask], ClickInference(), starts=[start_of(mask)[1:]])
