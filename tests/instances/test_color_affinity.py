"""BoxInst's colors, pairs and enlargement against published numbers and by hand."""

import math

import pytest
import torch

from segkit.ops.instances.color_affinity import (
    NEIGHBOURS,
    color_similarity,
    pair_count,
    pairwise_sum,
    rgb_to_lab,
    small_lab,
)
from segkit.ops.resizing import aligned_bilinear
from tests.instances.pairs import pairwise_maps
from tests.instances.published import load, off


def test_enlargement_is_the_published_one():
    known = load("boxinst")
    for factor in (2, 4):
        assert torch.equal(aligned_bilinear(known["aligned_bilinear_in"], factor), known[f"aligned_bilinear_x{factor}"])
    ramp = torch.tensor([[[[0.0, 2.0]]]])
    assert aligned_bilinear(ramp, 2).tolist() == [[[[0, 0, 1, 2], [0, 0, 1, 2]]]]
    assert aligned_bilinear(ramp, 1) is ramp


def test_colors_are_the_published_ones():
    known = load("boxinst")
    lab = rgb_to_lab(known["rgb_u8"])
    assert off(lab, known["lab"]) < 1e-7
    assert off(color_similarity(lab, known["image_mask"].unsqueeze(0)), known["similarity"]) < 1e-6
    white_black = torch.tensor([[255, 0], [255, 0], [255, 0]], dtype=torch.uint8).view(1, 3, 1, 2)
    torch.testing.assert_close(
        rgb_to_lab(white_black)[0, :, 0], torch.tensor([[100.0, 0], [0, 0], [0, 0]]), atol=5e-3, rtol=0
    )


def test_blocks_lose_the_fraction_of_their_mean():
    image = torch.full((1, 3, 4, 8), 10.0)
    image[:, :, 0, :4] += 3.9  # a mean of 10.975
    assert torch.equal(small_lab(image), rgb_to_lab(torch.full((1, 3, 1, 2), 10, dtype=torch.uint8)))


def test_pairs_and_their_loss_are_the_published_ones():
    known = load("boxinst")
    logits, boxes = known["logits"][:, 0].requires_grad_(), known["box"][:, 0]
    maps = pairwise_maps(logits)
    assert off(maps[:1], known["pairwise"]) < 1e-6
    weights = (known["similarity"] >= 0.3).float()
    loss = pairwise_sum(logits, boxes, weights, [5]) / pair_count(boxes, weights, [5])
    assert loss.item() == pytest.approx(known["loss_pairwise_nowarmup"].item(), rel=1e-6)
    loss.backward()
    assert off(logits.grad, known["grad_pairwise"][:, 0]) < 1e-6


def test_images_of_a_batch_keep_to_themselves():
    rng = torch.Generator().manual_seed(0)
    logits = torch.randn(4, 6, 5, generator=rng, dtype=torch.float64).mul_(3).requires_grad_()
    boxes = torch.rand(4, 6, 5, generator=rng, dtype=torch.float64)
    weights = torch.rand(3, 8, 6, 5, generator=rng, dtype=torch.float64)
    maps = pairwise_maps(logits)
    pairs = weights[[0, 2, 2, 2]] * boxes.unsqueeze(1)
    counts = [1, 0, 3]
    torch.testing.assert_close(pair_count(boxes, weights, counts), pairs.sum())
    ours, plain = pairwise_sum(logits, boxes, weights, counts), (maps * pairs).sum()
    torch.testing.assert_close(ours, plain)
    gradients = [torch.autograd.grad(3 * value, logits)[0] for value in (ours, plain)]
    torch.testing.assert_close(*gradients)


def test_a_pair_by_hand_and_in_the_tails():
    right = torch.zeros(1, 8, 1, 3)
    right[:, NEIGHBOURS.index((0, 2))] = 1
    logits = torch.zeros(1, 1, 3)
    logits[0, 0, 0], logits[0, 0, 2] = math.log(3), -math.log(4)
    # p = 3/4 and q = 1/5 belong together with probability 3/20 + 1/5; the other two pixels have no such neighbour
    assert pairwise_sum(logits, torch.ones(1, 1, 3), right, [1]).item() == pytest.approx(-math.log(0.35))
    for far, expected in ([1e4, 0.0, 1e4], 0), ([1e4, 0.0, -1e4], 1e4 - math.log(2)):
        value = pairwise_sum(torch.tensor([[far]]), torch.ones(1, 1, 3), right, [1])
        assert value.item() == pytest.approx(expected)
    none = torch.zeros(0, 4, 5, requires_grad=True)
    assert pairwise_sum(none, none, torch.zeros(1, 8, 4, 5), [0]).requires_grad
    assert pair_count(none, torch.zeros(1, 8, 4, 5), [0]) == 0
