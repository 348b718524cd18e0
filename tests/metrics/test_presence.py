"""Scores of the presence of classes and thresholds of the gate: numbers by hand and by the stored arrays."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from segkit.metrics.presence import GateThresholds, Presence, best_thresholds, presence_scores
from segkit.registry import ConfigError

FILE = Path(__file__).parents[1] / "fixtures/refine/class_gate.npz"
DATA = SimpleNamespace(classes=("sky", "road"), ignore=255)


def scored(metric, rows, data=DATA):
    """rows: of each image presence, predicted and true labels."""
    metric.start(data)
    for presence, labels, truth in rows:
        prediction = dict(presence=torch.tensor(presence), labels=torch.tensor([labels]))
        metric.update([prediction], dict(mask=[torch.tensor([truth])]))
    return metric.compute()


def test_presence_by_hand():
    """Class 0: truth 1 1 0 0, found 1 0 0 1; of its 4 pairs (.9, .4) with (.4, .6) 2.5 are right. Class 1: always."""
    rows = [
        ((0.9, 0.9), [0], [0, 1]),
        ((0.4, 0.9), [0], [0, 1]),
        ((0.4, 0.2), [0], [1, 1]),
        ((0.6, 0.5), [0], [1, 255]),
    ]
    scores = scored(Presence(), rows)["presence"]
    assert scores["per_class"] == {
        "sky": {"Acc": 50.0, "F1": 50.0, "AUC": 62.5},
        "road": {"Acc": 75.0, "F1": pytest.approx(100 * 6 / 7), "AUC": None},
    }
    assert scores["Acc"] == 62.5 and scores["AUC"] == 62.5 and scores["images"] == 4
    assert scored(Presence(), [])["presence"]["Acc"] is None
    # a model of one class: label 1 of two
    one = scored(Presence(), [((0.9,), [0], [0, 1]), ((0.1,), [0], [0, 0])])["presence"]
    assert one["per_class"] == {"road": {"Acc": 100.0, "F1": 100.0, "AUC": 100.0}}


def test_auc_equals_the_count_of_pairs():
    rng = np.random.default_rng(0)
    presence, truth = rng.integers(0, 8, (40, 3)) / 8, rng.random((40, 3)) < 0.3
    found = presence_scores(presence, truth, 0.5)["AUC"]
    for k in range(3):
        with_class, without = presence[truth[:, k], k], presence[~truth[:, k], k]
        pairs = np.sign(with_class[:, None] - without[None])
        assert found[k] == pytest.approx(((pairs + 1) / 2).mean())


def test_thresholds_by_hand():
    """Class 1 is found by mistake in the second image: with a threshold above .3 its Dice is 1 there instead of 0."""
    rows = [
        ((1.0, 0.8), [0, 1, 1], [0, 1, 0]),
        ((1.0, 0.3), [0, 1, 0], [0, 0, 0]),
        ((0.2, 0.6), [1, 1, 1], [255, 1, 1]),
    ]
    scores = scored(GateThresholds(steps=10), rows)["gate"]
    assert scores["per_class"]["road"] == {
        "threshold": 0.4,
        "Dice": pytest.approx(100 * (2 / 3 + 1 + 1) / 3),
        "plain_Dice": pytest.approx(100 * (2 / 3 + 0 + 1) / 3),
    }
    # class 0 gains nothing: the first of the thresholds; Dice 2 / 3, 4 / 5, and 1 of the empty ones
    assert scores["per_class"]["sky"]["threshold"] == 0.0
    assert scores["per_class"]["sky"]["Dice"] == pytest.approx(100 * (2 / 3 + 4 / 5 + 1) / 3)
    assert scored(GateThresholds(), [])["gate"]["Dice"] is None


def test_thresholds_of_the_stored_masks():
    """Against every gated mask made in full."""
    stored = np.load(FILE)
    masks, truth = (np.unpackbits(stored[name]).reshape(6, 4, 24, 32) for name in ("plain_mask", "val_truth"))
    presence, grid = stored["class_prob"], stored["grid"]

    def dice(a, b):
        total = a.sum((2, 3), dtype=np.int64) + b.sum((2, 3), dtype=np.int64)
        return np.where(total, 2 * (a & b).sum((2, 3)) / np.maximum(total, 1), 1.0)

    found, best = best_thresholds(dice(masks, truth), dice(masks * 0, truth), presence, grid)
    assert len(set(found)) > 1
    for k in range(4):
        means = [dice(masks * (presence >= t)[..., None, None], truth)[:, k].mean() for t in grid]
        assert (found[k], best[k]) == (grid[int(np.argmax(means))], pytest.approx(max(means)))


def test_a_model_without_the_branch_is_told():
    for metric in (Presence(), GateThresholds()):
        metric.start(DATA)
        with pytest.raises(ConfigError, match=rf"{type(metric).__name__} reads 'presence', which this model does not"):
            metric.update([dict(labels=torch.zeros(1, 1))], dict(mask=[torch.zeros(1, 1)]))
        with pytest.raises(ConfigError, match="the presence of 3 classes, and the data has 2"):
            three = dict(labels=torch.zeros(1, 1), presence=torch.ones(3))
            metric.update([three], dict(mask=[torch.zeros(1, 1)]))


def test_rows_of_all_processes(monkeypatch):
    """A process that saw no image scores what the other saw, of a model of one class."""
    from segkit.metrics import presence as module

    other = Presence()
    scored(other, [((0.9,), [0], [0, 1]), ((0.8,), [0], [0, 0])])
    mine = Presence()
    mine.start(DATA)
    monkeypatch.setattr(module, "gather_objects", lambda rows: [rows, other._rows])
    assert mine.compute()["presence"]["per_class"] == {
        "road": {"Acc": 50.0, "F1": pytest.approx(200 / 3), "AUC": 100.0}
    }
