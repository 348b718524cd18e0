"""Whole runs of published networks: clicks with and without zoom, refinement after every click."""

import json

import numpy as np
import pytest
import torch

from segkit.api import load_model
from segkit.runners.interactive.advance import Advance
from segkit.runners.interactive.brs import Objective
from segkit.runners.interactive.clicker import Click
from segkit.runners.interactive.session import Session
from segkit.runners.interactive.simulate import simulate
from segkit.settings import ClickInference
from tests.interactive.doubles import drawn
from tests.interactive.ritm import FIXTURES, TINY, model_of

NOC = json.loads((FIXTURES / "noc_networks.json").read_text())
BRS = json.loads((FIXTURES / "brs.json").read_text())
MODES = {"cvpr400": dict(zoom=dict(target=400)), "nozoom_noflip": dict(zoom=None, flip=False)}
QUICK = ("RGB-BRS/flip0", "DistMap-BRS/flip1", "f-BRS-C/flip1")


def check_runs(model, published: list[dict], settings: ClickInference):
    images, masks = zip(*(drawn(run["image"]) for run in published))
    for run, result in zip(published, simulate(model, images, masks, settings), strict=True):
        clicks = [[int(sign), int(y), int(x), i] for i, (y, x, sign) in enumerate(result["clicks"].tolist())]
        assert clicks == run["clicks"]
        assert result["ious"] == pytest.approx(run["ious"], abs=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
def test_runs_of_hrnet18s(mode):
    model = model_of("hrnet18s_itermask")
    model.head.classifier.bias.data += 3.6
    check_runs(model, NOC["hrnet18s"][mode], ClickInference(**MODES[mode], target_iou=0.95, max_clicks=6))


@pytest.mark.parametrize("mode", MODES)
def test_runs_of_an_official_file(mode):
    check_runs(load_model(None, TINY), NOC["tiny"][mode][:1], ClickInference(**MODES[mode], max_clicks=8))


@pytest.fixture(scope="module")
def networks():
    """Built once each."""
    made: dict[str, torch.nn.Module] = {}

    def get(name: str) -> torch.nn.Module:
        if name not in made:
            made[name] = model_of(name)
            if name == "hrnet18s_itermask":
                made[name].head.classifier.bias.data += 2
        return made[name]

    return get


def brs_cases() -> list:
    quick = [f"hrnet18s_itermask/{name}" for name in QUICK] + [f"r34_dh128/f-BRS-{x}/flip0" for x in "AB"]
    return [pytest.param(name, marks=() if name in quick else pytest.mark.slow) for name in sorted(BRS["runs"])]


@pytest.mark.parametrize("name", brs_cases())
def test_refinement(name, networks, monkeypatch):
    """Probabilities within the noise of L-BFGS, and as many evaluations of the loss."""
    variant, brs, flip = name.split("/")
    calls = [0]

    def counted(self, values, inner=Objective.__call__):
        calls[0] += 1
        return inner(self, values)

    monkeypatch.setattr(Objective, "__call__", counted)
    settings = ClickInference(zoom=None, flip=flip == "flip1", brs=None if brs == "NoBRS" else brs, brs_evaluations=8)
    advance, session = Advance(networks(variant), settings), Session(drawn(5)[0])
    run, evaluations = BRS["runs"][name], []
    with np.load(FIXTURES / "brs.npz") as arrays:
        stored = arrays[name].astype(np.float32) if name in arrays.files else None
    for i, (sign, y, x) in enumerate(BRS["clicks"]):
        calls[0] = 0
        session.add(Click(y, x, bool(sign)))
        advance([session])
        evaluations.append(calls[0])
        found = session.probabilities[0, 0]
        assert float(found.mean()) == pytest.approx(run["mean"][i], abs=2e-3)
        at_clicks = [float(found[y, x]) for _, y, x in BRS["clicks"]]
        assert at_clicks == pytest.approx(run["at_clicks"][i], abs=1e-2)
        if stored is not None:
            assert np.abs(found[3::8, 3::8].numpy() - stored[i]).max() < 1e-2
    assert evaluations == run["evaluations"]


def test_f_brs_runs_the_backbone_once_per_click_and_not_at_all_beyond_the_limit(networks):
    model, image = networks("hrnet18s_itermask"), drawn(5)[0]
    runs = []
    hook = model.backbone.register_forward_hook(lambda *_: runs.append(1))
    advance = Advance(model, ClickInference(zoom=None, brs="f-BRS-B", brs_evaluations=4, clicks_limit=2))
    session, counts = Session(image), []
    for y, x in ((30, 36), (22, 46), (38, 49)):
        session.add(Click(y, x, True))
        runs.clear()
        advance([session])
        counts.append(len(runs))
    hook.remove()
    assert counts == [1, 1, 0]
    assert all(parameter.grad is None for parameter in model.parameters())
