"""Perturbed masks: the published distribution, seeds, and the samples that are made of them."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from segkit.data.loader import collate_train
from segkit.data.refining.coarse_mask import CoarseMask
from segkit.models.cascade_segmentor import CascadeSegmentor
from segkit.ops.refining.perturbation import coarse_mask, coarse_outlines, grown_and_shrunk
from segkit.registry import ConfigError, build_model
from segkit.runners.refining.runner import MaskRefinement
from segkit.types import ClickObject
from tests.refiners.cascades import TINY

FIXTURE = Path(__file__).parents[1] / "fixtures/refine/boundary_accuracy.npz"


def iou(a: np.ndarray, b: np.ndarray) -> float:
    return np.count_nonzero(a & b) / np.count_nonzero(a | b)


def pedestrian(root: Path, number: int) -> np.ndarray:
    """The first mask of a Penn-Fudan image with 20 pixels around it, at 224 x 224, bool."""
    file = root / f"PennFudanPed/PedMasks/FudanPed{number:05}_mask.png"
    mask = cv2.imread(str(file), cv2.IMREAD_UNCHANGED) == 1
    y, x = np.nonzero(mask)
    part = mask[max(y.min() - 20, 0) : y.max() + 21, max(x.min() - 20, 0) : x.max() + 21]
    return cv2.resize(part.astype(np.uint8), (224, 224), interpolation=cv2.INTER_NEAREST) > 0


@pytest.mark.parametrize("target", [0.8, 0.9, 1.0])
def test_distribution_is_the_published_one(target, real_data):
    """The quartiles over 8 masks, 12 results each, lie within .02 of those of the published code."""
    published = np.load(FIXTURE)["perturbed"]
    published = published[published[:, 1] == target][:, 3:6].mean(0)
    rng = np.random.default_rng(0)
    quartiles = []
    for number in range(1, 9):
        mask = pedestrian(real_data, number)
        values = [iou(coarse_mask(mask, target, rng), mask) for _ in range(12)]
        quartiles.append(np.quantile(values, [0.25, 0.5, 0.75]))
    assert np.abs(np.mean(quartiles, axis=0) - published).max() < 0.02


def disc(size: int = 120, radius: int = 40) -> np.ndarray:
    y, x = np.mgrid[:size, :size]
    return (y - size // 2) ** 2 + (x - size // 2) ** 2 < radius**2


def test_same_seed_same_mask_and_the_given_one_stays():
    mask = disc()
    before = mask.copy()
    first, second, other = (coarse_mask(mask, 0.8, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert np.array_equal(first, second) and not np.array_equal(first, other)
    assert np.array_equal(mask, before) and first.dtype == bool


def test_growth_stops_below_the_target():
    mask = disc()
    rng = np.random.default_rng(0)
    for target in (0.7, 0.9):
        # the last round alone can go further, by four rectangles
        assert target - 0.15 < iou(grown_and_shrunk(mask, target, rng), mask) < target
    assert np.array_equal(grown_and_shrunk(mask, 0.0, rng).shape, mask.shape)


def test_holes_stay_and_short_outlines_are_left_alone():
    ring = disc(radius=50) & ~disc(radius=25)
    made = [coarse_outlines(ring, np.random.default_rng(seed)) for seed in range(4)]
    assert np.mean([mask[55:66, 55:66].mean() for mask in made]) < 0.1
    assert min(iou(mask, ring) for mask in made) > 0.7
    dot = np.zeros((9, 9), bool)
    dot[4, 4] = True
    assert np.array_equal(coarse_outlines(dot, np.random.default_rng(0)), dot)
    line = np.ones((2, 30), bool)
    assert np.array_equal(grown_and_shrunk(line, 0.5, np.random.default_rng(0)), line)


def layered() -> dict:
    """Two objects, of which one is small, and an ignored region."""
    layers = np.zeros((60, 80, 1), np.uint8)
    layers[5:40, 5:40], layers[50:54, 50:54], layers[50:, :10] = 1, 2, 3
    objects = {1: ClickObject(0, 1), 2: ClickObject(0, 2)}
    return dict(image=np.zeros((60, 80, 3), np.uint8), layers=layers, objects=objects, ignored=[(0, 3)], meta={})


def test_samples_of_click_sets():
    sample = layered()
    made = CoarseMask(min_area=20)(sample, np.random.default_rng(0))
    assert set(made) == {"image", "mask", "coarse", "meta"} and "layers" in sample
    assert made["mask"].dtype == np.float32 and made["coarse"].dtype == np.uint8
    assert np.array_equal(made["mask"] == 1, sample["layers"][..., 0] == 1)
    assert np.array_equal(made["mask"] == -1, sample["layers"][..., 0] == 3)
    assert 0.5 < iou(made["coarse"] == 1, made["mask"] == 1) < 1
    chosen = {int((CoarseMask(min_area=1)(sample, np.random.default_rng(s))["mask"] == 1).sum()) for s in range(20)}
    assert chosen == {35 * 35, 16}, "each object comes up"
    nothing = CoarseMask(min_area=5000)(sample, np.random.default_rng(0))
    assert not (nothing["mask"] == 1).any() and not nothing["coarse"].any()


def test_samples_of_label_maps():
    labels = np.zeros((60, 80), np.uint8)
    labels[5:30, 5:30], labels[35:58, 40:70], labels[0:30, 50:78], labels[:, :3] = 1, 1, 2, 255
    sample = dict(image=np.zeros((60, 80, 3), np.uint8), mask=labels, meta={})
    for components, areas in ((False, {25 * 25 + 23 * 30, 30 * 28}), (True, {25 * 25, 23 * 30, 30 * 28})):
        found = set()
        for seed in range(30):
            made = CoarseMask(components=components)(sample, np.random.default_rng(seed))
            assert np.array_equal(made["mask"] == 255, labels == 255) and made["mask"].dtype == np.uint8
            found.add(int((made["mask"] == 1).sum()))
        assert found == areas
    alone = CoarseMask(background=(0, 1))(sample, np.random.default_rng(0))
    assert np.array_equal(alone["mask"] == 1, labels == 2)


def test_batches_hold_coarse_masks_padded_with_0():
    rng = np.random.default_rng(0)
    large = CoarseMask()(layered(), rng)
    small = {**large, "image": large["image"][:40], "mask": large["mask"][:40], "coarse": large["coarse"][:40]}
    batch = collate_train([large, small], ignore=-1)
    assert batch["coarse"].shape == (2, 60, 80) and batch["coarse"].dtype == torch.uint8
    assert not batch["coarse"][1, 40:].any() and batch["mask"][1, 40:].eq(-1).all()


def test_wrong_settings_and_samples_are_refused():
    with pytest.raises(ConfigError, match=r"least = 0.9 is above most = 0.8"):
        CoarseMask(0.9, 0.8)
    with pytest.raises(ConfigError, match="no objects and no label map"):
        CoarseMask()(dict(image=np.zeros((4, 4, 3), np.uint8)), np.random.default_rng(0))
    with pytest.raises(ConfigError, match=r"runner.side = 64: must be 66 or more"):
        MaskRefinement(side=64)


def evaluated() -> dict:
    mask = torch.from_numpy(disc(80, 30).astype(np.int8))
    meta = dict(id="a", path="a.png", size=(80, 80), valid=(80, 80))
    return dict(image=torch.zeros(1, 3, 80, 80, dtype=torch.uint8), mask=[mask], meta=[meta])


def test_runner_feeds_signed_masks_and_evaluates_the_same_twice():
    torch.manual_seed(0)
    model = build_model(TINY)
    assert isinstance(model, CascadeSegmentor)
    runner = MaskRefinement(side=80, is_fast=True)
    rng = np.random.default_rng(0)
    seen = []
    batch = dict(image=torch.zeros(2, 3, 32, 32), coarse=torch.tensor([0, 1], dtype=torch.uint8).view(2, 1, 1))
    batch["coarse"] = batch["coarse"].expand(2, 32, 32)
    runner.forward(lambda image, coarse: seen.append(coarse), batch, rng)
    assert seen[0].shape == (2, 1, 32, 32) and seen[0].unique().tolist() == [-1, 1]
    first, second = (runner.predict(model.eval(), evaluated())[0]["labels"] for _ in range(2))
    assert torch.equal(first, second) and first.shape == (80, 80) and first.dtype == torch.uint8


def test_runner_says_what_is_missing():
    runner = MaskRefinement(side=80)
    with pytest.raises(ConfigError, match="end with dict\\(type='CoarseMask'\\)"):
        runner.forward(build_model(TINY), dict(image=torch.zeros(1, 3, 8, 8)), np.random.default_rng(0))
    batch = evaluated()
    del batch["mask"]
    with pytest.raises(ConfigError, match="use segkit refine CHECKPOINT"):
        runner.predict(build_model(TINY), batch)
    plain = build_model(
        dict(num_classes=1, backbone=dict(type="PlainEncoder", channels=[4]), head=dict(type="FCNHead", channels=4))
    )
    with pytest.raises(ConfigError, match=r"model.type = Segmentor: refines no masks; use CascadeSegmentor"):
        runner.predict(plain, evaluated())
