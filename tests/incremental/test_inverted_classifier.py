"""STAR-Lite's prototypes: the search against torch's AdamW, and what is made of it by hand."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from segkit.ops.incremental.inverted_classifier import derived_prototypes, invert_classifier
from segkit.ops.incremental.prototypes import ClassStatistics


def slow_search(weight: Tensor, bias: Tensor, steps: int) -> Tensor:
    x, wanted = torch.zeros(weight.shape, requires_grad=True), torch.eye(len(weight))
    optimizer, lowest, found = torch.optim.AdamW([x], lr=2.5e-4, weight_decay=0.01), 1e8, x
    for _ in range(steps):
        optimizer.zero_grad()
        loss = F.binary_cross_entropy_with_logits(F.linear(x, weight, bias), wanted)
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            x.clamp_(0)
        if loss.item() < lowest:
            lowest, found = loss.item(), F.normalize(x.detach(), dim=1)
    return found


@pytest.mark.parametrize("steps", [1, 60])
def test_the_search_is_adamw_on_features_of_0_or_more(steps):
    rng = torch.Generator().manual_seed(0)
    weight, bias = torch.randn(5, 12, generator=rng), torch.randn(5, generator=rng)
    found = invert_classifier(weight, bias, steps)
    torch.testing.assert_close(found, slow_search(weight, bias, steps), rtol=1e-4, atol=1e-5)
    assert found.min() >= 0 and not found.requires_grad
    torch.testing.assert_close(found.norm(dim=1), torch.ones(5))


def test_a_separable_classifier_finds_each_class():
    found = invert_classifier(torch.eye(3) * 4, torch.full((3,), -2.0), 300)
    assert (found @ torch.eye(3)).argmax(1).tolist() == [0, 1, 2] and found.diagonal().min() > 0.99


def test_prototypes_are_the_mean_direction_and_as_wide_as_the_nearest_is_far():
    inverted = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])
    sums = torch.tensor([[0.0, 3.0], [0.0, 7.0], [0.0, 0.0]], dtype=torch.float64)  # no pixel of the last class
    prototypes, distances = derived_prototypes(inverted, sums)
    expected = torch.tensor([[0.5**0.5, 0.5**0.5], [0.0, 1.0], [0.6, 0.8]])
    torch.testing.assert_close(prototypes, expected)
    apart = (expected[:, None] - expected).norm(dim=2)
    torch.testing.assert_close(distances, torch.stack([apart[0, 2], apart[1, 2], apart[2, 0]]), rtol=1e-4, atol=1e-6)
    alone, width = derived_prototypes(inverted[:1], sums[:1])
    assert width.tolist() == [0] and alone.isfinite().all()


def test_statistics_take_prototypes_and_distances_and_lose_directions():
    known = ClassStatistics(
        torch.arange(3.0), *(torch.ones(2, 4), torch.ones(2), torch.ones(2)), torch.ones(2, 4), torch.ones(3, 4)
    )
    moved = known.with_prototypes(torch.eye(4)[:2], torch.tensor([0.5, 2.0]))
    torch.testing.assert_close(moved.distances(), torch.tensor([0.5, 2.0]))
    assert torch.equal(moved.prototypes, torch.eye(4)[:2]) and torch.equal(moved.counts, known.counts)
    bare = moved.without_directions(keeps_means=False)
    assert torch.equal(bare.counts, known.counts)
    assert not any(value.any() for name, value in bare.as_dict().items() if name != "counts")
    assert torch.equal(moved.without_directions(keeps_means=True).means, known.means)
