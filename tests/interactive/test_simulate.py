"""Evaluation click by click, against published runs of a stand-in network."""

import json
from pathlib import Path

import pytest

from segkit.click_settings import ClickInference
from segkit.runners.interactive.predictor import Advance, Session
from segkit.runners.interactive.simulate import Item
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
CASES = [pytest.param(name, index, marks=() if index in QUICK[name] else pytest.mark.slow)
         for name in sorted(RUNS) for index in range(len(SHAPES))]  # fmt: skip


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
