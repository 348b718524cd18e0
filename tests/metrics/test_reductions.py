"""Samplewise and multi-label scores: the seven reductions of segmentation_models_pytorch, and cases by hand."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from segkit.metrics._pixel_pairs import PixelPairs
from segkit.metrics._reductions import REDUCTIONS, counts_of_matrix, reduce_scores
from segkit.metrics.multi_label import MultiLabel
from segkit.metrics.samplewise import Samplewise
from segkit.registry import ConfigError

FIXTURES = Path(__file__).parents[1] / "fixtures" / "metrics"
THEIRS = json.loads((FIXTURES / "smp_metrics.json").read_text())
NAMES = {
    "iou_score": "IoU",
    "f1_score": "Dice",
    "accuracy": "Accuracy",
    "precision": "Precision",
    "recall": "Recall",
    "specificity": "Specificity",
    "balanced_accuracy": "BalancedAccuracy",
}


def stored_maps():
    stored = np.load(FIXTURES / "maps.npz")
    return stored["gt"], stored["pred"]


def started(metric, num_classes: int):
    metric.start(SimpleNamespace(classes=tuple("abcdefghij"[:num_classes]), ignore=255))
    return metric


def feed(metric, truths, predictions, key: str = "labels"):
    for i, (truth, prediction) in enumerate(zip(truths, predictions)):
        metric.update([{key: prediction}], dict(mask=[torch.as_tensor(truth)], meta=[dict(id=f"img_{i}")]))
    return metric


def test_counts_equal_get_stats():
    case, pairs = THEIRS["multiclass_ignore255"], PixelPairs(7, 255)
    for i, (truth, labels) in enumerate(zip(*stored_maps())):
        counts = counts_of_matrix(pairs.of_image(labels, truth, str(i)).numpy())
        assert counts.tolist() == [case[name][i] for name in ("tp", "fp", "fn", "tn")]


@pytest.mark.parametrize("case", list(THEIRS))
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize(("absent", "zero_division"), [("one", "1.0"), ("zero", "0.0")])
def test_equals_the_reductions_of_smp(case, reduction, absent, zero_division):
    case = THEIRS[case]
    counts = np.array([case[name] for name in ("tp", "fp", "fn", "tn")])
    weights = np.array(case["class_weights"])
    # its "weighted-imagewise" is the mean over the classes of score * weight, with weights that add up to 1
    scale = counts.shape[2] if reduction == "weighted-imagewise" else 1
    result = reduce_scores(counts, reduction, absent=absent, weights=weights)
    for theirs, ours in NAMES.items():
        expected = scale * np.array(case["scores"][f"{theirs}|{reduction}|zd={zero_division}"])
        np.testing.assert_allclose(result[ours], expected, atol=2e-6, err_msg=f"{theirs} {reduction}")


@pytest.mark.parametrize("case", list(THEIRS))
@pytest.mark.parametrize(("name", "beta"), [("fbeta2|macro", 2.0), ("fbeta0.5|micro", 0.5)])
def test_equals_smps_fbeta(case, name, beta):
    case = THEIRS[case]
    counts = np.array([case[count] for count in ("tp", "fp", "fn", "tn")])
    result = reduce_scores(counts, name.split("|")[1], absent="one", beta=beta)
    assert float(result["Fscore"]) == pytest.approx(case["scores"][name], abs=2e-6)


def test_samplewise_equals_smp():
    scores = THEIRS["multiclass_ignore255"]["scores"]
    result = feed(started(Samplewise(absent="one"), 7), *stored_maps()).compute()["samplewise"]
    assert result["IoU"] == pytest.approx(100 * scores["iou_score|macro-imagewise|zd=1.0"], abs=1e-4)
    assert result["Dice"] == pytest.approx(100 * scores["f1_score|macro-imagewise|zd=1.0"], abs=1e-4)
    each = np.array(scores["iou_score|none|zd=1.0"]).mean(0)
    assert [result["per_class"][name]["IoU"] for name in "abcdefg"] == pytest.approx(list(100 * each), abs=1e-4)
    assert result["images"] == 3


def test_samplewise_by_hand():
    """Image 0: IoU 1/2 and 2/3; image 1 has class 0 alone, IoU 1: (7/12 + 1) / 2."""
    truths = [np.array([[0, 0, 1, 1]], np.uint8), np.array([[0, 255]], np.uint8)]
    labels = [np.array([[0, 1, 1, 1]], np.uint8), np.array([[0, 1]], np.uint8)]
    result = feed(started(Samplewise(), 3), truths, labels).compute()["samplewise"]
    assert result["IoU"] == pytest.approx(100 * (7 / 12 + 1) / 2)
    assert result["per_class"]["a"]["IoU"] == pytest.approx(75)
    assert result["per_class"]["b"]["IoU"] == pytest.approx(200 / 3)
    assert result["per_class"]["c"]["IoU"] is None
    weighted = Samplewise("weighted-imagewise", class_weights=(3, 1, 1))
    result = feed(started(weighted, 3), truths, labels).compute()["samplewise"]
    assert result["IoU"] == pytest.approx(100 * ((3 / 2 + 2 / 3) / 4 + 1) / 2)


def test_samplewise_of_nothing_and_bad_arguments():
    assert started(Samplewise(), 3).compute()["samplewise"]["IoU"] is None
    with pytest.raises(ConfigError, match="macro-imagewise"):
        Samplewise("imagewise")
    with pytest.raises(ConfigError, match="needs a weight"):
        Samplewise("weighted")
    with pytest.raises(ConfigError, match="2 weights for 3 classes"):
        started(Samplewise("weighted", class_weights=(1, 2)), 3)


def test_multi_label_by_hand():
    """Class a: tp 1, fp 1, fn 0, tn 1, one pixel ignored; class b: tp 1, fp 0, fn 1, tn 2; class c: true negatives."""
    truth = np.array([[[1, 0, 0, 255]], [[1, 1, 0, 0]], [[0, 0, 0, 0]]], np.uint8)
    probabilities = torch.tensor([[[0.9, 0.5, 0.1, 0.9]], [[0.7, 0.4, 0.0, 0.2]], [[0.0, 0.0, 0.1, 0.2]]])
    metric = feed(started(MultiLabel(), 3), [truth], [probabilities], key="probabilities")
    result = metric.compute()["multi_label"]
    assert [result["per_class"][name]["IoU"] for name in "abc"] == [50, 50, None]
    assert result["per_class"]["a"]["Accuracy"] == pytest.approx(200 / 3)
    assert result["macro"]["IoU"] == 50
    assert result["micro"]["Dice"] == pytest.approx(100 * 4 / 6)
    assert result["micro"]["Accuracy"] == pytest.approx(100 * 9 / 11)
    truth[0, 0, 1] = 2
    with pytest.raises(ValueError, match="img_0: label 2 in a multi-label mask"):
        feed(metric, [truth], [probabilities], key="probabilities")
    with pytest.raises(ValueError, match="one map for each class"):
        feed(metric, [truth[:2]], [probabilities[:2]], key="probabilities")
