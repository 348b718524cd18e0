"""The local consistency module against published numbers, in both its forms, and autograd of the plain formula."""

import pytest
import torch
import torch.nn.functional as F

from segkit.ops.instances.local_consistency import SHIFTS, diffuse, local_affinity, local_consistency
from tests.instances.published import load, off


def plain_diffusion(masks, affinity, iterations):
    """masks: [n,h,w], affinity: [n,8,h,w]; every neighbour map is made."""
    height, width = masks.shape[1:]
    for _ in range(iterations):
        padded = F.pad(masks.unsqueeze(1), [2] * 4, mode="replicate")[:, 0]
        around = torch.stack([padded[:, y : y + height, x : x + width] for y, x in SHIFTS], 1)
        masks = (around * affinity).sum(1)
    return masks


def test_values_and_gradient_are_the_published_ones():
    known = load("lcm")
    logits, boxes = known["logits"][:, 0].requires_grad_(), known["box"][:, 0]
    masks, affinity = logits.sigmoid(), local_affinity(known["img"])
    assert off(affinity, known["affinity"][:, 0]) < 1e-6
    for iterations in (1, 10):
        part = known[f"refined_{iterations}"][:, 0]
        assert off(diffuse(masks, affinity, [5], iterations=iterations)[: len(part)], part) < 1e-6
    one_group = torch.zeros(5, dtype=torch.int64)
    once = local_consistency(masks, boxes, affinity, [5], one_group, number=1, iterations=1)
    assert once.item() == pytest.approx(known["lcm_value_prefix_1iter"].item(), rel=1e-6)
    value = local_consistency(masks, boxes, affinity, [5], one_group, number=1)
    assert value.item() == pytest.approx(known["lcm_value"].item(), rel=1e-6)
    value.backward()
    assert off(logits.grad, known["grad_logits"][:, 0]) < 1e-6


@pytest.mark.parametrize("size", [(7, 6), (1, 5), (2, 2)])
def test_images_of_a_batch_keep_to_themselves_and_the_gradient_is_the_transpose(size):
    rng = torch.Generator().manual_seed(0)
    affinity = local_affinity(torch.rand(3, 3, *size, generator=rng, dtype=torch.float64))
    masks = torch.rand(4, *size, generator=rng, dtype=torch.float64).requires_grad_()
    weight = torch.randn(4, *size, generator=rng, dtype=torch.float64)
    ours = diffuse(masks, affinity, [1, 0, 3], iterations=3)
    plain = plain_diffusion(masks, affinity[[0, 2, 2, 2]], 3)
    torch.testing.assert_close(ours, plain)
    pair = [torch.autograd.grad((value * weight).sum(), masks)[0] for value in (ours, plain)]
    torch.testing.assert_close(*pair)


def test_an_even_mask_stays_and_nothing_is_zero():
    affinity = local_affinity(torch.rand(1, 3, 6, 5))
    torch.testing.assert_close(affinity.sum(1), torch.ones(1, 6, 5))
    even = torch.full((1, 6, 5), 0.3)
    torch.testing.assert_close(diffuse(even, affinity, [1]), even)
    none = torch.zeros(0, 6, 5, requires_grad=True)
    value = local_consistency(none, none, affinity, [0], torch.zeros(0, dtype=torch.int64), number=2)
    assert value.tolist() == [0, 0] and value.requires_grad


def test_grey_images_weigh_all_neighbours_alike():
    torch.testing.assert_close(local_affinity(torch.full((1, 3, 5, 5), 0.7)), torch.full((1, 8, 5, 5), 1 / 8))
