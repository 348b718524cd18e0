"""Losses of click training: they take the mask as SampleClicks makes it; BoundaryCE is CFR-ICL's."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from segkit.criterion import build_criterion
from segkit.losses.boundary_ce import BoundaryCE
from segkit.losses.normalized_focal import NormalizedFocal


def test_float_masks_with_ignored_pixels():
    """[B,H,W] masks of 0, 1 and -1 give the loss of [B,1,H,W] ones; ignored pixels get no gradient."""
    torch.manual_seed(0)
    logits = torch.randn(2, 1, 6, 7, requires_grad=True)
    mask = torch.randint(-1, 2, (2, 6, 7)).float()
    loss = NormalizedFocal()(logits, mask)
    assert torch.equal(loss, NormalizedFocal()(logits, mask[:, None]))
    loss.backward()
    assert (logits.grad[:, 0][mask == -1] == 0).all() and (logits.grad[:, 0][mask != -1] != 0).all()
    assert not NormalizedFocal()(logits, torch.full_like(mask, -1.0)).any()


def test_a_row_resizes_the_logits_to_the_mask():
    """Through the criterion: logits at half size, the term by hand from the resized ones."""
    torch.manual_seed(1)
    logits, mask = torch.randn(2, 1, 4, 5, requires_grad=True), torch.randint(-1, 2, (2, 8, 10)).float()
    rows = [dict(type="NormalizedFocal", on="logits", target="mask", alpha=0.5, gamma=2.0)]
    (term,) = build_criterion(rows, align_corners=True)({"logits": logits}, {"mask": mask}, 0).values()
    large = torch.nn.functional.interpolate(logits, (8, 10), mode="bilinear", align_corners=True)
    assert term.item() == pytest.approx(NormalizedFocal()(large, mask).item(), rel=1e-6)


def test_cross_entropy_along_the_outline_is_the_published_one():
    with np.load(Path(__file__).parents[1] / "fixtures/clicks/cfr_boundary_ce.npz") as stored:
        arrays = {name: torch.from_numpy(stored[name]) for name in stored.files}
    logits = arrays["logits"].requires_grad_()
    value = BoundaryCE(average="all")(logits, arrays["label"])
    assert value.item() == pytest.approx(float(arrays["loss"]), rel=1e-5)
    (gradient,) = torch.autograd.grad(value, logits)
    assert float((gradient - arrays["grad"]).abs().max()) <= 1e-5 * float(arrays["grad"].abs().max())
    along = int((arrays["grad"] != 0).sum())
    mean = BoundaryCE()(logits, arrays["label"]).item()
    assert mean == pytest.approx(value.item() * logits.numel() / along, rel=1e-5)


def test_cross_entropy_along_the_outline_by_hand():
    """A corner of the object, and ignored pixels that hide a part of its outline."""
    mask = torch.tensor([[[1.0, 1.0, 0.0, 0.0], [1.0, 1.0, 0.0, 0.0], [-1.0, 0.0, 0.0, 0.0]]])
    along = torch.tensor([[[0, 1, 1, 0], [0, 1, 1, 0], [0, 1, 0, 0]]])
    logits = torch.full((1, 1, 3, 4), 2.0, requires_grad=True)
    value = BoundaryCE()(logits, mask)
    right, wrong = math.log1p(math.exp(-2)), math.log1p(math.exp(2))
    assert value.item() == pytest.approx((2 * right + 3 * wrong) / 5)
    assert BoundaryCE("all")(logits, mask).item() == pytest.approx((2 * right + 3 * wrong) / 12)
    assert torch.equal(torch.autograd.grad(value, logits)[0][:, 0] != 0, along > 0)
    assert BoundaryCE()(logits, torch.ones(1, 3, 4)) == 0
