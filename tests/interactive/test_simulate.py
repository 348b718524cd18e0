"""Evaluation click by click, against published runs of a stand-in network."""

import json
from pathlib import Path

import numpy as np
import pytest

from segkit.runners.interactive.advance import Advance
from segkit.runners.interactive.clicker import mask_iou
from segkit.runners.interactive.session import Session
from segkit.runners.interactive.simulate import Item, simulate
from segkit.settings import ClickInference
from tests.interactive.doubles import SHAPES, Echo, drawn

RUNS = json.loads((Path(__file__).parents[1] / "fixtures" / "ritm" / "noc_stub.json").read_text())["configs"]
PROTOCOL = dict(target_iou=0.97, max_clicks=15)
SETTINGS = {
    "cvpr400": dict(zoom=dict(target=400)),
    "fixed400": dict(zoom=dict(target=(400, 400), skip=-1)),
    "cvpr400_clicklimit3": dict(zoom=dict(target=400), clicks_limit=3),
    "cvpr400_noprev": dict(zoom=dict(target=400)),
}


QUICK = {"cvpr400": (1, 5), "fixed400": (1, 5), "cvpr400_clicklimit3": (5,), "cvpr400_noprev": (5,)}
CASES = [
    pytest.param(name, index, marks=() if index in QUICK[name] else pytest.mark.slow)
    for name in sorted(RUNS)
    for index in range(len(SHAPES))
]


@pytest.mark.parametrize(("name", "index"), CASES)
def test_published_run(name, index):
    """Every click, IoU and zoom box, and the sum of probabilities after each click."""
    published = RUNS[name]["results"][index]
    image, mask = drawn(index)
    settings = ClickInference(**SETTINGS[name], **PROTOCOL)
    advance = Advance(Echo(has_previous=name != "cvpr400_noprev"), settings)
    item = Item(Session(image), mask)
    boxes, sums = [], []
    while not item.is_finished(settings):
        item.click()
        advance([item.session])
        probabilities = item.session.probabilities
        item.score((probabilities > settings.threshold)[0, 0].numpy(), keep=False)
        boxes.append(None if item.session.box is None else list(item.session.box))
        sums.append(float(probabilities.sum()))
    clicks = [[int(c.is_positive), c.y, c.x, i] for i, c in enumerate(item.session.clicks)]
    assert clicks == published["clicks"]
    assert item.ious == pytest.approx(published["ious"], abs=1e-6)
    assert boxes == published["rois"]
    assert sums == pytest.approx(published["prob_sums"], rel=1e-5)


SHARES = "segkit.runners.interactive.advance.shares_passes"


@pytest.mark.parametrize("zoom", [dict(target=(48, 64), skip=-1, min_crop=20), dict(target=64, min_crop=20)])
def test_many_at_once_are_clicked_as_if_alone(zoom, monkeypatch):
    """Objects of several sizes, some found earlier than others, in shared passes as on a GPU."""
    monkeypatch.setattr(SHARES, lambda device, size: True)
    images, masks = [], []
    for index, step in ((0, 4), (5, 2), (0, 4), (1, 5)):
        image, mask = drawn(index)
        images.append(image[:, ::step, ::step].contiguous())
        masks.append(mask[::step, ::step])
    masks[2] = np.where(masks[2] == 1, 0, (np.indices(masks[2].shape).sum(0) < 40)).astype(np.int8)
    settings = ClickInference(zoom=zoom, max_clicks=4, target_iou=0.5)
    together, network = simulate(Echo(), images, masks, settings), Echo()
    alone = [simulate(network, [i], [m], settings)[0] for i, m in zip(images, masks)]
    for one, other in zip(together, alone, strict=True):
        assert np.array_equal(one["clicks"], other["clicks"]) and np.array_equal(one["ious"], other["ious"])
        assert np.array_equal(one["labels"], other["labels"]) and one["seconds"] > 0
    assert len({len(one["ious"]) for one in together}) > 1


@pytest.mark.parametrize("is_shared", [True, False])
def test_a_fixed_crop_takes_one_forward_a_round_and_the_found_leave(is_shared, monkeypatch):
    """Small inputs share a pass; of large ones on a CPU each object that is left has its own."""
    monkeypatch.setattr("segkit.runners.interactive.advance.LARGE_ALONE", 48 * 48 + is_shared)
    items = [drawn(5), drawn(2), drawn(5)]
    images, masks = [image[:, ::2, ::2] for image, _ in items], [mask[::2, ::2] for _, mask in items]
    network = Echo()
    settings = ClickInference(zoom=dict(target=(48, 48), skip=-1), max_clicks=4, target_iou=0.85)
    rounds = [len(one["ious"]) for one in simulate(network, images, masks, settings)]
    active = [sum(n > k for n in rounds) for k in range(max(rounds))]
    passes = [2 * n for n in active] if is_shared else [2] * sum(active)
    assert network.forwards == [(n, 3, 48, 48) for n in passes]


def test_at_least_and_at_most_so_many_clicks():
    image, mask = drawn(5)
    (result,) = simulate(Echo(), [image], [mask], ClickInference(zoom=None, target_iou=0.1, min_clicks=3))
    assert len(result["ious"]) == 3 == len(result["clicks"]) and result["ious"].dtype == np.float32
    (result,) = simulate(Echo(), [image], [mask], ClickInference(zoom=None, target_iou=1.01, max_clicks=2))
    assert len(result["ious"]) == 2


def test_the_mask_after_each_click_is_kept_on_request():
    from pycocotools import mask as rle

    image, mask = drawn(5)
    (result,) = simulate(Echo(), [image], [mask], ClickInference(zoom=None, max_clicks=3, keep_masks=True))
    decoded = [rle.decode(one) for one in result["masks"]]
    assert [mask_iou(one > 0, mask) for one in decoded] == pytest.approx(result["ious"].tolist())
    assert np.array_equal(decoded[-1], result["labels"])


def test_objects_that_are_not_there_or_tiny():
    """Nothing to find: negative clicks until the prediction is empty, IoU 1; a mask of another size is refused."""
    image = drawn(5)[0]
    empty, dot = np.zeros((64, 80), np.int8), np.zeros((64, 80), np.int8)
    dot[30, 36] = 1
    first, second = simulate(Echo(), [image, image], [empty, dot], ClickInference(zoom=None, max_clicks=3))
    assert first["clicks"].tolist() == [[0, 0, 0]] and first["ious"].tolist() == [1.0]
    assert second["clicks"][0].tolist() == [30, 36, 1] and np.isfinite(second["ious"]).all()
    with pytest.raises(ValueError, match=r"mask of \(64, 79\) pixels for an image of \(64, 80\)"):
        simulate(Echo(), [image], [empty[:, 1:]], ClickInference())
