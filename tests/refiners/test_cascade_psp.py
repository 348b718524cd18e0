"""CascadePSP behind masks: the published steps and tiles, objects of label maps, and a sentence for what cannot be."""

import numpy as np
import pytest
import torch
from torch import Tensor

from segkit.files import DataError
from segkit.refiners.cascade_psp import CascadePSP, cascade_of, padded_cascade, refine_classes, refine_mask
from segkit.registry import REFINERS, ConfigError, build
from segkit.schema import check
from tests.oracles import error, fixture, reference_model
from tests.refiners.cascades import Published, keeps, saved


@pytest.fixture(scope="module")
def published() -> tuple[dict, dict[str, np.ndarray], Tensor, Tensor]:
    """What is stored, and the image, normalized, and the mask of the published numbers."""
    content, stored = fixture("refine", "cascadepsp_inference")
    image = torch.from_numpy(stored["image"]).permute(2, 0, 1)[None] / 255
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    mask = 2 * torch.from_numpy(stored["mask_in"] > 127).float() - 1
    return content, stored, (image - mean.view(1, 3, 1, 1)) / std.view(1, 3, 1, 1), mask[None, None]


@pytest.mark.parametrize("side", [72, 100, 150, 300])
@pytest.mark.parametrize("kind", ["full", "fast"])
def test_steps_and_tiles_are_the_published_ones(published, side, kind):
    content, stored, image, mask = published
    cascade = Published()
    found = refine_mask(cascade, image, mask, side=side, is_fast=kind == "fast")
    name = f"fake_{kind}_L{side}"
    assert len(cascade.sizes) == content["calls"][f"{name}_calls"]
    assert found.shape == mask.shape and found.min() >= 0 and found.max() <= 1
    if name in stored:
        assert error(found, stored[name], content["outputs"][name]) < 1e-5
    if side == 72:
        # 150 x 110 pixels at a longer side of 72 are 72 x 52, and both sides go to the next multiple of 8
        assert cascade.sizes[0] == (80, 56)


@torch.no_grad()
@pytest.mark.parametrize("side", [72, 200])
def test_first_step_of_the_published_network(published, side):
    _, stored, image, mask = published
    content, _ = fixture("refine", "cascadepsp")
    network = reference_model("cascadepsp_r50", "cascadepsp", content["names"], OPTIONS)
    found = refine_mask(cascade_of(network), image, mask, side=side, is_fast=True)
    name = f"fast_L{side}"
    assert error(found, stored[name], published[0]["outputs"][name]) < 3e-5


OPTIONS = ("num_classes=1", "model.backbone.pretrained=None")


def disc(height: int = 90, width: int = 120) -> Tensor:
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return ((y - 45) ** 2 + (x - 50) ** 2 < 30**2)[None, None]


def iou(a: Tensor, b: Tensor) -> float:
    return float((a & b).sum() / (a | b).sum())


@pytest.mark.parametrize(
    ("side", "is_fast"), [(66, False), (90, False), (120, False), (200, False), (120, True), (200, True)]
)
def test_a_perfect_mask_stays(side, is_fast):
    truth = disc()
    found = refine_mask(keeps, torch.zeros(1, 3, 90, 120), 2 * truth.float() - 1, side=side, is_fast=is_fast)
    assert iou(found > 0.5, truth) > 0.99


@pytest.mark.parametrize("size", [(1, 1), (1, 500), (3, 40), (65, 2)])
def test_images_smaller_than_a_tile(size):
    mask = torch.ones(1, 1, *size)
    found = refine_mask(keeps, torch.zeros(1, 3, *size), mask, side=66, is_fast=False)
    assert torch.equal(found, torch.ones(1, 1, *size))


def test_tiles_without_an_outline_are_left_out():
    """All of the object, or nothing of it: the first step alone runs."""
    for value in (-1.0, 1.0):
        cascade = Published()
        refine_mask(cascade, torch.zeros(1, 3, 200, 200), torch.full((1, 1, 200, 200), value), side=80, is_fast=False)
        assert len(cascade.sizes) == 1


def test_padding_is_the_mean_color_and_no_object():
    seen = []

    def watch(image: Tensor, coarse: Tensor, os8: Tensor | None, os4: Tensor | None) -> tuple[Tensor, Tensor]:
        seen.append((image, coarse, os8))
        return coarse, coarse

    image, mask = torch.ones(1, 3, 16, 9), torch.ones(1, 1, 16, 9)
    final, _ = padded_cascade(watch, image, mask, mask)
    padded, coarse, os8 = seen[0]
    assert padded.shape[-2:] == (24, 16) and final.shape[-2:] == (16, 9)
    assert padded[..., 16:, :].eq(0).all() and coarse[..., 9:].eq(-1).all() and os8[..., 16:, :].eq(-1).all()


def test_objects_of_label_maps_by_hand():
    """Two objects of class 1 and one of class 2; what is found in a box of a quarter more decides."""
    coarse = torch.zeros(1, 3, 40, 40)
    labels = torch.zeros(40, 40, dtype=torch.int64)
    labels[4:12, 4:12], labels[20:36, 20:36], labels[0, 39] = 1, 2, 1
    coarse.scatter_(1, labels[None, None], 0.8)
    coarse += 0.2 / 3
    boxes = []

    def grow(image: Tensor, mask: Tensor) -> Tensor:
        """Everything in the box is the object, by .7 for the small one and .6 for others."""
        boxes.append(tuple(mask.shape[-2:]))
        return torch.full_like(mask, 0.7 if mask.shape[-1] == 10 else 0.6)

    found = refine_classes(grow, torch.zeros(1, 3, 40, 40), coarse, min_pixels=5, background=(0,))
    # class 0 covers the image; of 8 pixels a side 1 is added on each side, of 16 2; the single pixel is too small
    assert boxes == [(40, 40), (10, 10), (20, 20)]
    assert torch.allclose(found.sum(1), torch.ones(1, 40, 40))
    expected = torch.zeros(40, 40, dtype=torch.int64)
    expected[3:13, 3:13] = 1  # .7 is more than the .6 of class 0
    assert torch.equal(found[0].argmax(0), expected), "class 0 came first, and class 2 is no better"
    assert found[0, 1, 5, 5].item() == pytest.approx(0.7)
    found = refine_classes(
        grow, torch.zeros(1, 3, 40, 40), coarse, min_pixels=5, background=(0,), background_factor=0.51
    )
    expected[18:38, 18:38], expected[0, 39] = 2, 1  # the background has .306 left, and the single pixel its label
    assert torch.equal(found[0].argmax(0), expected)
    assert torch.equal(found[0, :, 0, 39], coarse[0, :, 0, 39])
    assert torch.allclose(found.sum(1), torch.ones(1, 40, 40))


def test_label_maps_that_are_sure_stay_where_the_cascade_agrees():
    labels = torch.zeros(1, 1, 60, 80, dtype=torch.int64)
    labels[..., 10:40, 20:60] = 1
    coarse = torch.zeros(1, 2, 60, 80).scatter_(1, labels, 1.0)

    def refine(image: Tensor, mask: Tensor) -> Tensor:
        return refine_mask(keeps, image, mask, side=100, is_fast=False)

    found = refine_classes(refine, torch.zeros(1, 3, 60, 80), coarse, min_pixels=5)
    assert iou(found.argmax(1) == 1, labels[0] == 1) > 0.99


def test_refiner_keeps_the_contract(tmp_path):
    row = dict(type="CascadePSP", checkpoint=saved(tmp_path), side=80)
    refiner = build(row, REFINERS, "inference.refiners.0")
    rng = torch.Generator().manual_seed(0)
    image = torch.rand(2, 3, 50, 41, generator=rng) * 255
    one = (torch.rand(2, 1, 6, 5, generator=rng) > 0.5).float().repeat_interleave(9, 2).repeat_interleave(9, 3)
    one = one[..., :50, :41]
    found = refiner.refine(image, one)
    again = torch.cat([refiner.refine(image[i : i + 1], one[i : i + 1]) for i in (0, 1)])
    assert found.shape == one.shape and torch.equal(found, again), "images do not depend on each other"
    assert found.min() >= 0 and found.max() <= 1 and not found.requires_grad
    several = torch.rand(1, 3, 2, 2, generator=rng).softmax(1)
    several = several.repeat_interleave(25, 2).repeat_interleave(21, 3)[..., :41]
    found = refiner.refine(image[:1], several)
    assert found.shape == several.shape and torch.allclose(found.sum(1), torch.ones(1, 50, 41), atol=1e-5)
    empty = torch.zeros(1, 1, 50, 41)
    assert torch.equal(refiner.refine(image[:1], empty), empty), "nothing to refine"


def test_what_cannot_be_is_said(tmp_path):
    checkpoint = saved(tmp_path)
    with pytest.raises(ConfigError, match="side = 64: must be 66 or more"):
        build(dict(type="CascadePSP", checkpoint=checkpoint, side=64), REFINERS, "inference.refiners.0")
    row = dict(type="CascadePSP", checkpoint=checkpoint, side=65)
    with pytest.raises(ConfigError, match=r"inference.refiners.0.side = 65: must be a whole number of 66 or more"):
        check(dict(inference=dict(refiners=[row])), needed=())
    with pytest.raises(DataError, match="no such checkpoint"):
        CascadePSP(str(tmp_path / "none.pt"))
    refiner = CascadePSP(checkpoint, 80)
    with pytest.raises(ValueError, match="an image of 1 channels: CascadePSP refines masks of RGB images"):
        refiner.refine(torch.zeros(1, 1, 9, 9), torch.ones(1, 1, 9, 9))
    with pytest.raises(ValueError, match="resize them first"):
        refiner.refine(torch.zeros(1, 3, 9, 9), torch.ones(1, 1, 9, 8))
