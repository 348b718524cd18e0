"""Class and mask losses of instances in their published reductions; what there is already takes the rest."""

import pytest
import torch

from segkit.losses.cross_entropy import CrossEntropy
from segkit.losses.region import Dice
from segkit.ops.instances.box_projection import vector_dice
from segkit.ops.instances.focal import sigmoid_focal_sum
from tests.instances.published import load, off


def test_focal_loss_is_the_published_one():
    known = load("focal_dice_ce")
    logits = known["focal_logits"].requires_grad_()
    loss = sigmoid_focal_sum(logits, known["focal_labels_6_is_bg"]) / 9
    assert loss.item() == pytest.approx(known["focal_loss_avg9"].item(), rel=1e-6)
    loss.backward()
    assert off(logits.grad, known["focal_grad"]) < 1e-6


def test_focal_loss_of_a_map_is_that_of_its_cells():
    logits = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(40).view(2, 4, 5) % 4
    cells = sigmoid_focal_sum(logits.permute(0, 2, 3, 1).reshape(-1, 3), labels.flatten())
    torch.testing.assert_close(sigmoid_focal_sum(logits, labels), cells)
    # a cell of class 0 at logits 0: alpha / 4 log 2 of the class, (1 - alpha) / 4 log 2 of each other
    value = sigmoid_focal_sum(torch.zeros(1, 3), torch.tensor([0]))
    assert value.item() == pytest.approx((0.25 + 2 * 0.75) / 4 * 0.693147, rel=1e-5)


def test_dice_forms_are_the_published_ones():
    known = load("focal_dice_ce")
    masks, target = known["dice_logits"].sigmoid().flatten(1), known["dice_target"].flatten(1)
    assert off(vector_dice(masks, target, eps=2e-3), known["dice_sq_none"]) < 1e-6
    naive = Dice(activation="sigmoid", per_image=True, smooth=1.0, absent="count", eps=0.0)
    value = naive(known["dice_logits"], known["dice_target"])
    assert value.item() == pytest.approx(known["dice_naive_eps1_none"].mean().item(), rel=1e-6)


def test_cross_entropy_of_queries_is_the_published_one():
    known = load("focal_dice_ce")
    logits = known["ce_logits"].requires_grad_()
    loss = 2 * CrossEntropy(class_weight=known["ce_class_weight"].tolist())(logits, known["ce_labels_5_is_noobj"])
    assert loss.item() == pytest.approx(known["ce_loss_w2"].item(), rel=1e-6)
    loss.backward()
    assert off(logits.grad, known["ce_grad"]) < 1e-6
