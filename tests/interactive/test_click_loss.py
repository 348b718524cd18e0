"""The loss of click training takes the mask as SampleClicks makes it."""

import pytest
import torch

from segkit.criterion import build_criterion
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
