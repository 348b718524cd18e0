"""Scores of masks worked by hand and against slow references; masks from thresholds, and the search for these."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from segkit.data.dataset import Dataset
from segkit.engine.setup import Evaluation
from segkit.metrics.mask_scores import MeanDice, MeanPrecision
from segkit.registry import ConfigError
from segkit.runners.mask_decision import MaskDecision, without_small
from segkit.runners.multi_label import MultiLabel
from segkit.runners.threshold_search import Grid, search
from segkit.runners.writers import MaskWriter, class_folders

CLASSES = ("a", "b")
SET = SimpleNamespace(classes=CLASSES, ignore=255)


def scored(metric, positive: np.ndarray, truth: np.ndarray) -> dict:
    """positive, truth: [N,K,H,W]."""
    metric.start(SET)
    for p, t in zip(positive, truth):
        batch = dict(mask=[torch.from_numpy(t)], meta=[dict(id="x")])
        metric.update([dict(positive=torch.from_numpy(p.astype(bool)))], batch)
    return metric.compute()


def rows(*texts: str) -> np.ndarray:
    return np.array([[int(letter) if letter != "x" else 255 for letter in text] for text in texts], np.uint8)[:, None]


def test_dice_by_hand():
    """Image 1: a 2 of 3 and 2, b both empty; image 2: a predicted alone, b 3 of 3 and 5 with an ignored pixel."""
    positive = np.stack([np.stack([rows("11100000")[0], rows("00000000")[0]]), rows("10000000", "11100001")])
    truth = np.stack([np.stack([rows("01100000")[0], rows("00000000")[0]]), rows("00000000", "1111100x")])
    # 2 * 2 / (3 + 2) = .8 and 1; 0 and 2 * 3 / (3 + 5) = .75
    result = scored(MeanDice(), positive, truth)
    assert result["MeanDice"] == pytest.approx(100 * (0.8 + 1 + 0 + 0.75) / 4)
    assert result["MeanDice_of"] == pytest.approx({"a": 40.0, "b": 87.5})


def test_precision_by_hand():
    """IoU 1: 1; 11/20 = .55 exceeds .5 alone; 3/5 exceeds .5 and .55; .5 exceeds none; one empty mask: 0, two: 1."""
    metric = MeanPrecision()
    overlap, predicted = np.array([7, 11, 3, 1, 0, 0, 0]), np.array([7, 20, 5, 2, 4, 0, 0])
    true = np.array([7, 11, 3, 1, 0, 0, 9])
    np.testing.assert_allclose(metric.score(overlap, predicted, true), [1, 0.1, 0.2, 0, 0, 1, 0])
    assert metric.score(np.array([96]), np.array([100]), np.array([96]))[0] == 1
    assert metric.score(np.array([95]), np.array([100]), np.array([95]))[0] == 0.9  # .95 does not exceed .95


def test_scores_equal_slow_references_and_ignore_the_order():
    rng = np.random.default_rng(0)
    positive, truth = rng.random((12, 2, 6, 7)) < 0.6, (rng.random((12, 2, 6, 7)) < 0.5).astype(np.uint8)
    positive[3], truth[5, 1] = False, 0
    dices, precisions = [], []
    for p, t in zip(positive.reshape(24, -1), truth.reshape(24, -1)):
        inter = sum(bool(a) and bool(b) for a, b in zip(p, t))
        union = sum(bool(a) or bool(b) for a, b in zip(p, t))
        dices.append(1.0 if not union else 2 * inter / (inter + union))
        precisions.append(1.0 if not union else np.mean([inter * 20 > step * union for step in range(10, 20)]))
    order = rng.permutation(12)
    for metric, wanted in ((MeanDice(), dices), (MeanPrecision(), precisions)):
        result = scored(metric, positive, truth)
        assert result[metric.name] == pytest.approx(100 * np.mean(wanted), abs=1e-9)
        assert scored(metric, positive[order], truth[order]) == result


def test_predictions_and_masks_that_are_refused():
    metric = MeanDice()
    metric.start(SET)
    positive, truth = torch.zeros(2, 3, 3, dtype=torch.bool), torch.zeros(2, 3, 3, dtype=torch.uint8)
    for prediction, mask, match in (
        (dict(labels=truth[0]), truth, "scores a mask of each class, and this runner predicts none"),
        (dict(positive=positive), truth[0], "both must be"),
        (dict(positive=positive), truth + 2, "label 2 in a mask; must be 0, 1 or 255"),
        (dict(positive=positive[:1]), truth[:1], "1 masks for 2 classes"),
    ):
        with pytest.raises(ValueError, match=match):
            metric.update([prediction], dict(mask=[mask], meta=[dict(id="x")]))
    assert metric.compute() == {"MeanDice": None, "MeanDice_of": {"a": None, "b": None}}


PROBABILITIES = np.array(
    [[[0.9, 0.4, 0.4, 0.0], [0.9, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.6]], [[0.8, 0.2, 0.4, 0.4], [0.0] * 4, [0.0] * 4]],
    np.float32,
)


def test_masks_from_thresholds_by_hand():
    def of(*arguments, **keywords) -> list:
        return MaskDecision(*arguments, **keywords).apply(PROBABILITIES).sum((1, 2)).tolist()

    assert of(0.5) == [3, 1] and of(0.3) == [5, 3] and of([0.5, 0.3]) == [3, 3]
    # above .75 are 2 and 1 pixels: with 2 wanted, the second mask is empty
    assert of(0.3, 0.75, 2) == [5, 0] and of(0.3, 0.75, 3) == [0, 0] and of(0.3, 0.75, [2, 1]) == [5, 3]
    assert of(0.5, None, 2) == [3, 0]
    # parts: 4 pixels and 1 (corners touch), 1 and 2
    assert of(0.3, min_component=2) == [4, 2] and of(0.3, min_component=[5, 1]) == [0, 3]
    # a top threshold below the lower one is the lower one
    assert of(0.5, 0.1, 3) == [3, 0]
    with pytest.raises(ConfigError, match=r"runner\.threshold: 3 numbers for 2 classes"):
        of([0.5, 0.5, 0.5])


def test_parts_of_a_mask():
    mask = np.array([[1, 0, 0, 1], [0, 1, 0, 0], [0, 0, 0, 1]], bool)
    np.testing.assert_array_equal(without_small(mask, 2), [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0]])
    np.testing.assert_array_equal(without_small(mask, 1), mask)
    assert not without_small(np.zeros((2, 2), bool), 1).any()


class Given(MultiLabel):
    """Predicts what it is given, by the decision of its arguments."""

    maps: torch.Tensor

    def predict(self, model, batch):
        chosen = [self.maps[int(meta["id"])] for meta in batch["meta"]]
        return [self.decide(p) for p in chosen]


@pytest.mark.parametrize("metric", [MeanDice(), MeanPrecision()])
def test_the_search_equals_trying_every_decision(metric):
    rng = np.random.default_rng(3)
    truth = np.zeros((5, 2, 12, 12), np.uint8)
    truth[:3, 0, 2:8, 3:9], truth[4, 1, :5, :5], truth[0, 0, 0, :3] = 1, 1, 255
    noise = rng.random(truth.shape) * 0.6
    maps = torch.from_numpy(np.clip(0.5 * (truth == 1) + noise, 0, 1).astype(np.float32))
    batches = [
        dict(image=torch.zeros(1, 3, 12, 12), mask=[torch.from_numpy(truth[i])], meta=[dict(id=str(i))])
        for i in range(5)
    ]
    data = Evaluation(_set(), _Loader(batches), "val")
    runner = Given()
    runner.maps = maps
    model = SimpleNamespace(mean=torch.zeros(1))
    grid = Grid((0.3, 0.5, 0.7, 0.9), (0, 3, 20), (0, 4))
    found = search(model, runner, data, metric, grid)
    assert found.before * 100 == pytest.approx(
        list(scored(metric, (maps > 0.5).numpy(), truth)[f"{metric.name}_of"].values())
    )
    tried: dict = {}
    for low in grid.thresholds:
        for top in grid.thresholds:
            for area in grid.areas:
                for part in grid.components:
                    decision = MaskDecision(low, top, area, part)
                    positive = np.stack([decision.apply(p) for p in maps.numpy()])
                    of_class = scored(metric, positive, truth)[f"{metric.name}_of"]
                    tried[low, top, area, part] = [of_class[name] for name in CLASSES]
    best = np.array(list(tried.values())).max(0)
    np.testing.assert_allclose(100 * found.scores, best, atol=1e-9)
    assert (best > found.before * 100).all()  # the search finds more than the start, on both classes
    # what it names has the score that it states
    with_it = np.stack([found.decision.apply(p) for p in maps.numpy()])
    np.testing.assert_allclose(list(scored(metric, with_it, truth)[f"{metric.name}_of"].values()), best, atol=1e-9)


def _set() -> Dataset:
    dataset = Dataset()
    dataset.classes, dataset.ids = CLASSES, [str(i) for i in range(5)]
    return dataset


class _Loader(list):
    num_workers, timeout = 0, 0.0


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (((),), "--thresholds : must be numbers"),
        (((0.5, 0.3),), "--thresholds 0.5 0.3: must be numbers of 0 or more, rising"),
        (((0.5, 1.5),), "--thresholds 1.5: must be 1 or less"),
        (((0.5,), (-1, 0)), "--areas -1 0: must be numbers of 0 or more"),
    ],
)
def test_grids_that_are_refused(arguments, match):
    with pytest.raises(ConfigError, match=match):
        Grid(*arguments)


def test_masks_of_a_class_stay_in_their_folder(tmp_path):
    """Class names come out of checkpoints of others: none leads out of the folder, and each has a folder of its own."""
    names = ("a/b", "../../out", "..", "c", "C", "x:y", "a_b", "c_4")
    folders = class_folders(names)
    assert folders == ("a_b", ".._.._out", "class_2", "c", "C_4", "x_y", "a_b_6", "c_4_7")
    writer = MaskWriter(tmp_path / "deep/out", names, ())
    positive = np.zeros((len(names), 4, 5), bool)
    writer.add(Path("i.png"), "i", np.zeros((4, 5, 3), np.uint8), dict(positive=positive))
    written = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.png")}
    assert written == {"deep/out/overlays/i.png", *(f"deep/out/masks/{folder}/i.png" for folder in folders)}
