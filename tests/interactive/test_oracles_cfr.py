"""Several passes for a click, against published runs of cascade-forward refinement with a stand-in network."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from segkit.registry import ConfigError
from segkit.runners.interactive.advance import Advance
from segkit.runners.interactive.clicker import Click
from segkit.runners.interactive.session import Session
from segkit.runners.interactive.simulate import Item
from segkit.settings import ClickInference
from tests.interactive.doubles import SHAPES, Echo, drawn

RUNS = json.loads((Path(__file__).parents[1] / "fixtures/clicks/cfr_noc_stub.json").read_text())
QUICK = {("cf4_acf", 5), ("cvpr400_cf4_acf_click20", 1)}
CASES = [
    pytest.param(name, index, marks=() if (name, index) in QUICK else pytest.mark.slow)
    for name in RUNS
    for index in range(len(SHAPES))
]


def settings_of(run: dict) -> ClickInference:
    cascade, target = run["predictor"] or {}, run["zoom"]["target_size"]
    zoom = dict(target=tuple(target) if isinstance(target, list) else target, skip=run["zoom"].get("skip_clicks", 1))
    return ClickInference(
        zoom=zoom,
        flip=run["flip"],
        passes=cascade.get("cascade_step", 1),
        passes_until=20 if cascade.get("cascade_adaptive") else 0,
        passes_clicks=cascade.get("cascade_clicks", 1),
        target_iou=run["max_iou_thr"],
        max_clicks=run["max_clicks"],
    )


@pytest.mark.parametrize(("name", "index"), CASES)
def test_published_run(name, index):
    """Every click, IoU and zoom box, the sum of probabilities and the number of passes."""
    run = RUNS[name]
    published = run["results"][index]
    image, mask = drawn(index)
    settings, network = settings_of(run), Echo()
    advance, item = Advance(network, settings), Item(Session(image), mask)
    boxes, sums, passes = [], [], []
    while not item.is_finished(settings):
        item.click()
        before = len(network.forwards)
        advance([item.session])
        passes.append(len(network.forwards) - before)
        probabilities = item.session.probabilities
        item.score((probabilities > settings.threshold)[0, 0].numpy(), keep=False)
        boxes.append(None if item.session.box is None else list(item.session.box))
        sums.append(float(probabilities.sum()))
    assert [[int(c.is_positive), c.y, c.x, i] for i, c in enumerate(item.session.clicks)] == published["clicks"]
    assert item.ious == pytest.approx(published["ious"], abs=1e-6)
    assert boxes == published["rois"]
    assert sums == pytest.approx(published["prob_sums"], rel=1e-5)
    assert passes == published.get("passes", [1] * len(passes))


def test_an_external_mask_is_an_input_of_the_first_pass_alone():
    image, mask = drawn(5)
    seen = []

    class Watched(Echo):
        def guidance(self, clicks, size, previous=None):
            seen.append(previous[0, 0].clone())
            return super().guidance(clicks, size, previous)

    session = Session(image, torch.from_numpy((mask == 1).astype(np.float32)))
    session.add(Click(30, 30, True))
    Advance(Watched(), ClickInference(zoom=None, flip=False, passes=3))([session])
    assert torch.equal(seen[0], torch.from_numpy(mask == 1).float())
    assert all(0 < one.min() < one.max() < 1 for one in seen[1:]) and len(seen) == 3


def test_passes_that_cannot_be_made_are_refused():
    with pytest.raises(ConfigError, match="passes = 5: each pass reads the mask of the one before"):
        Advance(Echo(has_previous=False), ClickInference(passes=5))
    with pytest.raises(ConfigError, match="passes = 2 with brs = 'f-BRS-B'"):
        Advance(Echo(), ClickInference(passes=2, brs="f-BRS-B"))
