"""U-Net's weights of pixels by hand and against distances to every pixel, and through a loss."""

import numpy as np
import pytest
import torch

from segkit.criterion import build_criterion
from segkit.data.loader import collate_train
from segkit.data.transforms.cell_weights import CellWeights
from segkit.registry import ConfigError
from tests.data.samples import rng


def weights(mask, **arguments) -> np.ndarray:
    return CellWeights(**arguments)(dict(mask=np.array(mask, np.uint8)), rng())["pixel_weight"]


def test_by_hand_in_one_row():
    """Cells at 1 and at 5; pixel 3 is 2 from both, pixel 0 is 1 and 5 away."""
    found = weights([[0, 1, 0, 0, 0, 1, 255]], border=10.0, sigma=5.0)
    assert found[0, 3] == pytest.approx(1 + 10 * np.exp(-16 / 50)) and found[0, 0] == pytest.approx(
        1 + 10 * np.exp(-36 / 50)
    )
    assert found[0, 1] == found[0, 5] == 1 and found.dtype == np.float32
    assert (weights([[0, 1, 1, 0]]) == 1).all()  # one cell
    balanced = weights([[0, 1, 0, 2, 255]], class_weight=(0.5, 2.0, 3.0), border=0.0)
    assert balanced.tolist() == [[0.5, 2.0, 0.5, 3.0, 0.0]]


def test_against_all_distances():
    mask = np.zeros((18, 23), np.uint8)
    mask[2:6, 3:7], mask[6, 7], mask[9:15, 12:20], mask[1:4, 15:18] = 1, 1, 2, 1  # the first two touch by a corner
    cells = [np.argwhere((mask > 0) & where) for where in (np.arange(23) < 9, (np.arange(18) > 7)[:, None], None)[:2]]
    cells.append(np.array([(y, x) for y in range(1, 4) for x in range(15, 18)]))
    cells[1] = np.array([(y, x) for y, x in cells[1] if y >= 9])
    found = weights(mask, border=7.0, sigma=3.0)
    for y, x in np.argwhere(mask == 0):
        first, second = sorted(np.hypot(*(cell - (y, x)).T).min() for cell in cells)[:2]
        assert found[y, x] == pytest.approx(1 + 7 * np.exp(-((first + second) ** 2) / 18), abs=1e-4)
    assert (found[mask > 0] == 1).all()


def test_a_loss_reads_them_and_padding_weighs_nothing():
    samples = []
    for width in (7, 5):
        mask = np.zeros((4, width), np.uint8)
        mask[1, 1], mask[1, 4] = 1, 1
        image = np.zeros((4, width, 3), np.uint8)
        samples.append(CellWeights()(dict(image=image, mask=mask, meta={}), rng()))
    batch = collate_train(samples)
    assert batch["pixel_weight"].shape == (2, 4, 7) and (batch["pixel_weight"][1, :, 5:] == 0).all()
    row = dict(type="CrossEntropy", on="logits", target=["mask", "pixel_weight"])
    logits = torch.randn(2, 2, 4, 7, generator=torch.Generator().manual_seed(0), requires_grad=True)
    (value,) = build_criterion([row])({"logits": logits}, batch, 0).values()
    each = torch.nn.functional.cross_entropy(logits, batch["mask"], reduction="none", ignore_index=255)
    assert float(value) == pytest.approx(float((each * batch["pixel_weight"]).sum() / (2 * 28 - 8)), rel=1e-5)


def test_bad_arguments():
    with pytest.raises(ConfigError, match="sigma = 0"):
        CellWeights(sigma=0)
    with pytest.raises(ConfigError, match="2 weights, and the mask has class 2"):
        weights([[0, 2]], class_weight=(1, 1))
    assert CellWeights()(dict(image=np.zeros((2, 2, 3))), rng()).keys() == {"image"}
