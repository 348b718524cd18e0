"""Boundary IoU against a slow reference that looks at every neighbour of every pixel."""

from types import SimpleNamespace

import numpy as np
import pytest

from segkit.metrics.boundary import BoundaryIoU, boundary_width, is_boundary


def band(mask: np.ndarray, width: int) -> np.ndarray:
    """Pixels of the mask with a pixel outside it, or outside the image, at most `width` away; one by one."""
    found = np.zeros_like(mask)
    for y, x in np.argwhere(mask):
        square = [(v, u) for v in range(y - width, y + width + 1) for u in range(x - width, x + width + 1)]
        inside = [0 <= v < mask.shape[0] and 0 <= u < mask.shape[1] and mask[v, u] for v, u in square]
        found[y, x] = not all(inside)
    return found


def slow(truths, predictions, num_classes: int, ratio: float, ignore: int = 255) -> list[float | None]:
    both, either = np.zeros(num_classes), np.zeros(num_classes)
    for truth, labels in zip(truths, predictions):
        width = max(1, round(ratio * (truth.shape[0] ** 2 + truth.shape[1] ** 2) ** 0.5))
        for k in range(num_classes):
            bands = [band((one == k) & (truth != ignore), width) for one in (truth, labels)]
            both[k] += (bands[0] & bands[1]).sum()
            either[k] += (bands[0] | bands[1]).sum()
    return [100 * a / b if b else None for a, b in zip(both, either)]


def score(truths, predictions, num_classes: int, ratio: float) -> dict:
    metric = BoundaryIoU(ratio)
    metric.start(SimpleNamespace(classes=tuple("abcdef"[:num_classes]), ignore=255))
    for i, (truth, labels) in enumerate(zip(truths, predictions)):
        metric.update([dict(labels=labels)], dict(mask=[truth], meta=[dict(id=str(i))]))
    return metric.compute()["boundary"]


def scene(rng, height: int, width: int, num_classes: int) -> np.ndarray:
    labels = np.zeros((height, width), np.uint8)
    for k in range(1, num_classes):
        y, x = rng.integers(0, max(1, height - 4)), rng.integers(0, width - 4)
        labels[y : y + rng.integers(1, height + 1), x : x + rng.integers(3, width)] = k
    return labels


@pytest.mark.parametrize("ratio", [0.02, 0.06, 0.12])
def test_equals_the_slow_reference(ratio):
    rng = np.random.default_rng(0)
    truths = [scene(rng, *size, 4) for size in ((30, 41), (24, 24), (1, 9))]
    predictions = [np.roll(one, (1, 2), (0, 1)) for one in truths]
    truths[0][5:9, 5:20] = 255
    result = score(truths, predictions, 5, ratio)
    expected = slow(truths, predictions, 5, ratio)
    assert [result["per_class"][name]["IoU"] for name in "abcde"] == pytest.approx(expected)
    assert expected[4] is None and result["mIoU"] == pytest.approx(np.mean(expected[:4]))


def test_width_and_band_by_hand():
    assert boundary_width(300, 400, 0.02) == 10
    assert boundary_width(3, 4, 0.02) == 1
    labels = np.zeros((5, 6), np.uint8)
    labels[:, 4:] = 1
    expected = np.ones((5, 6), bool)
    expected[1:4, 1:3] = False  # one pixel from the frame, and not beside class 1
    np.testing.assert_array_equal(is_boundary(labels, 1), expected)


def test_perfect_prediction_beside_ignored_pixels():
    rng = np.random.default_rng(1)
    truth = scene(rng, 30, 30, 3)
    labels = truth.copy()
    truth[10:20, 10:20] = 255
    labels[10:20, 10:20] = 1
    assert score([truth], [labels], 3, 0.05)["mIoU"] == 100


def test_values_outside_the_classes_name_the_image():
    truth = np.zeros((8, 8), np.uint8)
    with pytest.raises(ValueError, match="0: label 3"):
        score([truth + 3], [truth], 3, 0.02)
