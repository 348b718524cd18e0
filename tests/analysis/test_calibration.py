"""Calibration errors by hand and by slow loops; the temperature that was put in is found."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from segkit.analysis.calibration import CalibrationRecorder, binned, tempered
from segkit.registry import ConfigError
from segkit.viz.page.analysis import calibration_section


def test_parts_and_errors_by_hand():
    # parts of a quarter: .25 lies in the first, .26 in the second, 1 in the last, and so does 0 in the first
    found = binned(np.array([0.0, 0.25, 0.26, 0.9, 1.0]), np.array([False, True, True, True, False]), 4)
    assert found.pixels.tolist() == [2, 1, 0, 2] and found.right.tolist() == [1, 1, 0, 1]
    # |1 - .25| + |1 - .26| + |1 - 1.9| = .75 + .74 + .9, over 5 pixels
    assert found.error() == pytest.approx(100 * 2.39 / 5)
    assert found.largest_error() == pytest.approx(74)  # means: .375, .74, .45


def predicted(seed: int, temperature: float, classes: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities [K,H,W] whose logits were multiplied by `temperature`, and labels drawn from the true ones."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (classes, 60, 70))
    true = np.exp(logits) / np.exp(logits).sum(0)
    labels = (rng.random((1, 60, 70)) > np.cumsum(true, 0)).sum(0).clip(0, classes - 1)
    sure = np.exp(logits * temperature)
    return (sure / sure.sum(0)).astype(np.float32), labels.astype(np.uint8)


def recorder_of(images: list, classes: tuple[str, ...]) -> CalibrationRecorder:
    recorder = CalibrationRecorder(SimpleNamespace(classes=classes, ignore=255))
    for k, (values, labels) in enumerate(images):
        batch = {"mask": [torch.from_numpy(labels)], "meta": [{"id": str(k)}]}
        recorder.add([{"probabilities": torch.from_numpy(values)}], batch)
    return recorder


def slow_error(values: np.ndarray, is_true: np.ndarray) -> float:
    total = 0.0
    for m in range(15):
        inside = (values > m / 15) & (values <= (m + 1) / 15)
        if inside.any():
            total += inside.sum() * abs(is_true[inside].mean() - values[inside].astype(float).mean())
    return 100 * total / len(values)


def test_errors_of_a_set_and_its_temperature():
    images = [predicted(seed, 2.0) for seed in range(3)]
    images[0][1][:5] = 255
    found = recorder_of(images, ("a", "b", "c")).result()
    scores = found.scores()
    values = np.concatenate([v.reshape(3, -1) for v, _ in images], 1)
    labels = np.concatenate([truth.reshape(-1) for _, truth in images])
    values, labels = values[:, labels != 255], labels[labels != 255]
    assert scores["ECE"] == pytest.approx(slow_error(values.max(0), values.argmax(0) == labels), rel=1e-6)
    assert scores["per_class"]["b"]["ECE"] == pytest.approx(slow_error(values[1], labels == 1), rel=1e-6)
    # logits were doubled: dividing them by 2 is right
    assert scores["temperature"] == pytest.approx(2, rel=0.13)
    assert scores["ECE"] > 8 and scores["ECE_at_temperature"] < 2.5
    assert scores["NLL_at_temperature"] < scores["NLL"]
    np.testing.assert_allclose(tempered(values, 2.0), tempered(values**0.5, 1.0), atol=1e-6)
    page = calibration_section(found)
    assert "Reliability" in page and page.count("<figure") == 2 and calibration_section(None) == ""


def test_values_that_are_no_probabilities():
    values, labels = predicted(5, 1.0, 2)
    with pytest.raises(ConfigError, match="do not sum to 1"):
        recorder_of([(0.5 * values, labels)], ("no", "yes"))


def test_the_single_map_of_two_classes():
    values, labels = predicted(5, 1.0, 2)
    both = recorder_of([(values, labels)], ("no", "yes")).result().scores()
    one = recorder_of([(values[1:], labels)], ("no", "yes")).result().scores()
    assert one["ECE"] == pytest.approx(both["ECE"], abs=1e-3) and one["ECE"] < 2.5
    nothing = recorder_of([(values, np.full_like(labels, 255))], ("no", "yes")).result()
    assert nothing.scores()["ECE"] is None and calibration_section(nothing) == ""
