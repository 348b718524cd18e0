"""Mean boundary accuracy: the published values, and what is left out."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from segkit.metrics.boundary_accuracy import BoundaryAccuracy, boundary_accuracy

STORED = np.load(Path(__file__).parents[1] / "fixtures/refine/boundary_accuracy.npz")


def masks(image: int) -> tuple[np.ndarray, ...]:
    height, width = STORED[f"{image}/shape"]
    packed = (STORED[f"{image}/{name}"] for name in ("gt", "seg", "mask"))
    return tuple(np.unpackbits(bits)[: height * width].reshape(height, width).astype(bool) for bits in packed)


@pytest.mark.parametrize("image", [0, 1])
def test_published_values(image):
    truth, *predictions = masks(image)
    for prediction, expected in zip(predictions, STORED["mba_seg_mask_iou_seg_mask"][image]):
        assert boundary_accuracy(truth, prediction) == pytest.approx(expected, abs=1e-12)


def test_published_value_of_a_shifted_disc():
    y, x = np.mgrid[:900, :1200]
    disc = (y - 450) ** 2 + (x - 600) ** 2 < 300**2
    found = boundary_accuracy(disc, np.roll(disc, 5, 1))
    assert found == pytest.approx(float(STORED["disc_900x1200_shift5"]), abs=1e-12)
    assert boundary_accuracy(disc, disc) == 1


def test_edge_by_hand():
    """A vertical edge in 10 x 20 pixels, where all radii are 1: the band is a column on each side."""
    truth = np.zeros((10, 20), bool)
    truth[:, 8:] = True
    assert boundary_accuracy(truth, np.roll(truth, 1, 1)) == 0.5  # one of both columns is wrong
    valid = np.ones_like(truth)
    valid[:, 8] = False
    assert np.isnan(boundary_accuracy(truth, truth, valid)), "ignored pixels make no outline"
    valid[5:] = True
    shifted = np.roll(truth, 1, 1)
    # of the band the rows 5 to 9, and of row 4 the pixel beside (5, 8): column 7; all of column 8 is wrong
    assert boundary_accuracy(truth, shifted, valid) == pytest.approx(5 / 10)


def test_metric_leaves_out_classes_without_an_outline():
    dataset = SimpleNamespace(classes=("a", "b", "c"), ignore=255)
    metric = BoundaryAccuracy()
    metric.start(dataset)
    truth = torch.zeros(10, 20, dtype=torch.int64)
    truth[:, 8:] = 1
    metric.update([{"labels": truth.roll(1, 1).to(torch.uint8)}], {"mask": [truth]})
    metric.update([{"labels": truth.to(torch.uint8)}], {"mask": [truth]})
    assert metric.compute() == {"mBA": {"mean": 75.0, "per_class": {"a": 75.0, "b": 75.0, "c": None}}}
    metric.reset()
    assert metric.compute()["mBA"]["mean"] is None
