"""The focal losses' tails and the normalizer, by hand."""

import pytest
import torch

from segkit.losses.focal import BinaryFocal
from segkit.losses.normalized_focal import NormalizedFocal


def gradient(loss: torch.nn.Module, x: float, label: float) -> float:
    """Of one pixel beside 15 undecided ones, which carry the normalizer."""
    logits = torch.zeros(1, 1, 4, 4)
    logits[..., 0, 0] = x
    logits.requires_grad_()
    target = torch.zeros(1, 1, 4, 4)
    target[..., 0, 0] = label
    loss(logits, target).backward()
    return logits.grad[0, 0, 0, 0].item()


@pytest.mark.parametrize("loss", [NormalizedFocal(), BinaryFocal()], ids=["NormalizedFocal", "BinaryFocal"])
@pytest.mark.parametrize(("label", "sign"), [(1.0, -1), (0.0, 1)])
def test_confident_mistakes_keep_an_even_gradient(loss, label, sign):
    """The published forms jump 20,000-fold at -18 on positives and are 0 from +17 on negatives."""
    steps = [gradient(loss, float(sign * x), label) for x in range(10, 121)]
    assert all(step * sign > 0 for step in steps)
    assert max(abs(step / steps[0]) for step in steps) < 1.01
    assert min(abs(step / steps[0]) for step in steps) > 0.99


@pytest.mark.parametrize("loss", [NormalizedFocal(), BinaryFocal()], ids=["NormalizedFocal", "BinaryFocal"])
def test_confident_hits_have_a_vanishing_gradient(loss):
    for x in (20.0, 60.0, 120.0):
        assert abs(gradient(loss, x, 1.0)) < 1e-12 and abs(gradient(loss, -x, 0.0)) < 1e-12


def test_normalized_focal_by_hand():
    """p = 0.5 and 0.8 on a positive and a negative, gamma 1: beta = 0.5 and 0.8, multiplier 2 / 1.3."""
    logits = torch.logit(torch.tensor([0.5, 0.8])).view(1, 1, 1, 2)
    target = torch.tensor([1.0, 0.0]).view(1, 1, 1, 2)
    expected = (2 / 1.3) * (0.25 * 0.5 * 0.693147 + 0.75 * 0.8 * 1.609438) / 2
    assert NormalizedFocal(alpha=0.25, gamma=1.0)(logits, target).item() == pytest.approx(expected, rel=1e-5)
    clamped = (0.25 * (2 / 1.3) * 0.5 * 0.693147 + 0.75 * 1.0 * 1.609438) / 2
    value = NormalizedFocal(alpha=0.25, gamma=1.0, max_mult=1.0)(logits, target).item()
    assert value == pytest.approx(clamped, rel=1e-5)


def test_the_normalizer_has_no_gradient():
    """Equal to the focal loss's gradient times the fixed multiplier."""
    rng = torch.Generator().manual_seed(0)
    logits = torch.randn((1, 1, 6, 6), generator=rng).requires_grad_()
    target = torch.randint(0, 2, (1, 1, 6, 6), generator=rng).float()
    (normalized,) = torch.autograd.grad(NormalizedFocal(0.5)(logits, target), logits)
    (plain,) = torch.autograd.grad(BinaryFocal(2.0, 0.5)(logits, target), logits)
    error = (logits.sigmoid() - target).abs().detach()
    torch.testing.assert_close(normalized, plain * 36 / error.square().sum())
