"""The next click of evaluation against published clicks and a slow reference."""

import json
from pathlib import Path

import numpy as np
import pytest

from segkit.runners.interactive.clicker import Click, mask_iou, next_click

FIXTURES = Path(__file__).parents[1] / "fixtures" / "ritm"
CASES = json.loads((FIXTURES / "clicker.json").read_text())


@pytest.fixture(scope="module")
def arrays():
    with np.load(FIXTURES / "clicker.npz") as content:
        return dict(content)


@pytest.mark.parametrize("case", range(len(CASES)))
def test_six_published_clicks_in_a_row(case, arrays):
    target, prediction = arrays[f"gt{case}"], arrays[f"pred{case}"] > 0
    not_clicked = np.ones(target.shape, bool)
    for is_positive, y, x, _ in CASES[case]["clicks"]:
        click = next_click(prediction, target, not_clicked)
        assert click == Click(y, x, bool(is_positive))
        not_clicked[click.y, click.x] = False


def squared_depths(region: np.ndarray) -> np.ndarray:
    """Exact squared distance to the nearest pixel outside, pixel by pixel."""
    padded = np.pad(region, 1)
    outside = np.argwhere(~padded)
    depths = np.zeros(padded.shape, int)
    for y, x in np.argwhere(padded):
        depths[y, x] = ((outside - (y, x)) ** 2).sum(1).min()
    return depths[1:-1, 1:-1]


@pytest.mark.parametrize("seed", range(6))
def test_click_is_as_deep_as_any_pixel_of_the_error(seed):
    rng = np.random.default_rng(seed)
    target = np.kron(rng.integers(-1, 2, (4, 5)), np.ones((5, 4), int)).astype(np.int8)
    prediction = np.kron(rng.integers(0, 2, (5, 4)), np.ones((4, 5), int)).astype(bool)
    click = next_click(prediction, target, np.ones(target.shape, bool))
    missed = squared_depths((target == 1) & ~prediction)
    extra = squared_depths((target == 0) & prediction)
    assert click.is_positive == (missed.max() > extra.max())
    assert (missed if click.is_positive else extra)[click.y, click.x] == max(missed.max(), extra.max()) > 0


def test_without_error_the_click_is_negative_at_the_first_pixel():
    target = np.zeros((4, 5), np.int8)
    assert next_click(target == 1, target, np.ones((4, 5), bool)) == Click(0, 0, False)


def test_an_object_of_one_pixel_is_clicked_there():
    target = np.zeros((4, 5), np.int8)
    target[2, 3] = 1
    assert next_click(np.zeros((4, 5), bool), target, np.ones((4, 5), bool)) == Click(2, 3, True)


def test_iou_leaves_ignored_pixels_out():
    target = np.array([[1, 1, 0, -1], [0, 1, -1, 0]], np.int8)
    prediction = np.array([[1, 0, 1, 1], [0, 1, 1, 0]], bool)
    assert mask_iou(prediction, target) == 2 / 4
    assert mask_iou(np.zeros((2, 2), bool), np.array([[0, -1], [0, 0]], np.int8)) == 1.0
