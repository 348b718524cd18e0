"""Boundary F-score: Gated-SCNN's published numbers, a slow reference, values by hand."""

import json
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from segkit.metrics.boundary_f import BoundaryF, boundary_f, outline
from segkit.registry import ConfigError
from tests.oracles import fixture

THRESHOLDS = (0.0005, 0.001875, 0.00375, 0.005)


def scored(metric: BoundaryF, pairs, classes: str = "abc") -> dict:
    metric.start(SimpleNamespace(classes=tuple(classes), ignore=255))
    for i, (truth, labels) in enumerate(pairs):
        metric.update([dict(labels=labels)], dict(mask=[truth], meta=[dict(id=str(i))]))
    return metric.compute()["boundary_f"]


def test_scores_are_the_authors(real_data):
    """A label map of CamVid against itself at a quarter of the size and back."""
    path = real_data / "camvid/valannot/0016E5_07965.png"
    if not path.exists():
        pytest.skip("no camvid/valannot under SEGKIT_DATA")
    truth = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    truth = np.where(truth == 11, 255, truth).astype(np.uint8)
    small = cv2.resize(truth, (120, 90), interpolation=cv2.INTER_NEAREST)
    labels = cv2.resize(small, truth.shape[::-1], interpolation=cv2.INTER_NEAREST)
    expected = fixture("gscnn", "boundary_f")[1]["boundary_f_th_by_class"]
    radii = [1, 2, 3, 3]  # of a diagonal of 600 pixels
    found = [boundary_f(truth == k, (labels == k) & (truth != 255), radii) for k in range(11)]
    np.testing.assert_allclose(np.stack(found, 1), expected, atol=1e-12)
    labels[labels == 255] = 0  # the metric takes classes alone
    result = scored(BoundaryF(), [(truth, labels)], "abcdefghijk")
    for name, column in zip("bcdefghijk", expected[:, 1:].T):
        assert list(result["per_class"][name].values()) == pytest.approx(100 * column)


def slow(truth: np.ndarray, prediction: np.ndarray, radius: int) -> float:
    lines = []
    for mask in (truth, prediction):
        line = []
        for y, x in np.ndindex(mask.shape):
            around = [(y, x + 1), (y + 1, x), (y + 1, x + 1)]
            inside = [(v, u) for v, u in around if v < mask.shape[0] and u < mask.shape[1]]
            if any(mask[v, u] != mask[y, x] for v, u in inside):
                line.append((y, x))
        lines.append(line)
    shares = []
    for line, other in (lines, lines[::-1]):
        found = [any((y - v) ** 2 + (x - u) ** 2 <= radius**2 for v, u in other) for y, x in line]
        shares.append(sum(found) / len(found))
    return 2 * shares[0] * shares[1] / sum(shares) if sum(shares) else 0.0


@pytest.mark.parametrize("radius", [0, 1, 2, 5])
def test_equals_the_slow_reference(radius):
    rng = np.random.default_rng(radius)
    for _ in range(5):
        truth, prediction = (rng.random((12, 15)) < 0.5 for _ in range(2))
        truth, prediction = (cv2.medianBlur(mask.astype(np.uint8), 5).astype(bool) for mask in (truth, prediction))
        assert boundary_f(truth, prediction, [radius])[0] == pytest.approx(slow(truth, prediction, radius))


def test_outline_and_score_by_hand():
    mask = np.zeros((4, 6), bool)
    mask[:, 3:] = True
    assert np.argwhere(outline(mask))[:, 1].tolist() == [2, 2, 2, 2]  # the frame is no outline
    assert boundary_f(mask, np.roll(mask, 1, 1) & mask, [0, 1]).tolist() == [0, 1]
    empty = np.zeros((4, 6), bool)
    assert boundary_f(empty, mask, [1]).tolist() == boundary_f(mask, empty, [1]).tolist() == [0]
    assert np.isnan(boundary_f(empty, empty, [1])).all()
    assert np.isnan(boundary_f(~empty, empty, [1])).all()  # neither has an outline


@pytest.mark.parametrize(("absent", "expected"), [("skip", None), ("zero", 0), ("one", 100)])
def test_absent_classes_and_ignored_pixels(absent, expected):
    truth = np.zeros((30, 40), np.uint8)
    truth[:, 20:] = 1
    labels = truth.copy()
    truth[10:20, 10:20], labels[10:20, 10:20] = 255, 1
    result = scored(BoundaryF((0.01, 0.02), absent=absent), [(truth, labels)])
    assert list(result["per_class"]) == ["a", "b", "c"]
    assert result["per_class"]["a"] == result["per_class"]["b"] == {"F@0.01": 100, "F@0.02": 100}
    assert result["per_class"]["c"] == {"F@0.01": expected, "F@0.02": expected}
    assert result["mean"] == pytest.approx(100 if expected is None else (200 + expected) / 3)
    assert json.loads(json.dumps(result)) == result


def test_images_are_averaged_before_classes():
    """Class b: 100 in the first image, 0 in the second, where it is missed; class a is whole in the second."""
    truth = np.zeros((30, 40), np.uint8)
    truth[:, 20:] = 1
    result = scored(BoundaryF((0.02,)), [(truth, truth), (truth, np.zeros_like(truth))])
    assert result["per_class"]["b"]["F@0.02"] == 50 == result["F@0.02"]


def test_wrong_values_are_refused():
    with pytest.raises(ConfigError, match=r"BoundaryF\.absent = 'none': must be one of skip, zero, one"):
        BoundaryF(absent="none")
    with pytest.raises(ConfigError, match="give one threshold or several"):
        BoundaryF(())
    with pytest.raises(ValueError, match="0: label 3"):
        scored(BoundaryF(), [(np.full((8, 8), 3, np.uint8), np.zeros((8, 8), np.uint8))])
