"""loop.patience: a training ends where scores stop rising, its checkpoint says so, and a larger patience goes on."""

import json

import pytest

from segkit import api
from segkit.engine import checkpoint
from segkit.metrics.confusion import Confusion
from segkit.registry import ConfigError
from tests.tiny import sections

SCORES = [20.0, 30.0, 29.0, 30.0, 28.0, 40.0, 39.0, 38.0]
"""Of the evaluations after steps 1, 2, ...: the third to fifth are no better than the second, equal is not better."""


class Scripted(Confusion):
    """A metric whose mIoU is the next of SCORES."""

    given: list[float] = []

    def compute(self):
        scores = super().compute()
        return scores if scores["mIoU"] is None else scores | {"mIoU": self.given.pop(0)}


@pytest.fixture
def scripted(monkeypatch):
    monkeypatch.setattr(Scripted, "given", list(SCORES))


def config(**loop) -> dict:
    cfg = sections()
    cfg["metrics"] = [dict(type="tests.test_patience:Scripted")]
    cfg["loop"] |= dict(steps=8, eval_every=1, save_every=0, **loop)
    return cfg


def steps_scored(folder) -> list[int]:
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [line["step"] for line in lines if "val" in line]


def test_it_ends_and_goes_on(scripted, tmp_path, capsys):
    result = api.train(config(patience=3), tmp_path / "run", device="cpu")
    assert result.is_finished and result.step == 5 and result.best == 30.0
    assert "ends at step 5: the last 3 evaluations were no better than the best" in capsys.readouterr().out
    assert checkpoint.read(tmp_path / "run/last.pt")["step"] == 5
    assert checkpoint.read(tmp_path / "run/best.pt")["step"] == 2
    assert steps_scored(tmp_path / "run") == [1, 2, 3, 4, 5]

    again = api.train(config(patience=3), tmp_path / "run", device="cpu", resume=True)
    assert again.step == 5 and not again.has_trained
    assert "raise loop.patience to go on" in capsys.readouterr().out

    more = api.train(config(patience=4), tmp_path / "run", device="cpu", resume=True)
    assert more.step == 8 and more.best == 40.0, "after the better score at step 6 it counts from 0"
    assert steps_scored(tmp_path / "run") == [1, 2, 3, 4, 5, 6, 7, 8]


def test_rates_are_those_of_the_whole_length(scripted, tmp_path):
    api.train(config(patience=3, log_every=1), tmp_path / "short", device="cpu")
    Scripted.given = list(SCORES)
    api.train(config(log_every=1), tmp_path / "long", device="cpu")
    rates = [
        [json.loads(line)["lr"] for line in (tmp_path / name / "log.jsonl").read_text().splitlines() if "lr" in line]
        for name in ("short", "long")
    ]
    assert rates[0] == rates[1][:5]


def test_nothing_scored_on_the_way_is_refused(tmp_path):
    cfg = config(patience=2)
    cfg["loop"]["eval_every"] = 0
    with pytest.raises(ConfigError, match=r"loop\.patience = 2: loop\.eval_every is 0"):
        api.train(cfg, tmp_path / "run", device="cpu")
    cfg = config(patience=2)
    del cfg["val"]
    with pytest.raises(ConfigError, match=r"loop\.patience = 2: there is no section `val`"):
        api.train(cfg, tmp_path / "run", device="cpu")
