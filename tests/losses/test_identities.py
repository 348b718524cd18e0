"""Identities that hold for any input: drawn by hypothesis from a seed, a number of classes and a share of ignored
pixels."""

import numpy as np
import pytest
import torch

from segkit.losses.binary_cross_entropy import BinaryCrossEntropy
from segkit.losses.combo import Combo
from segkit.losses.cross_entropy import CrossEntropy
from segkit.losses.distillation import KLDistillation
from segkit.losses.focal import BinaryFocal, Focal, SigmoidFocal
from segkit.losses.lovasz import LovaszHinge, LovaszSoftmax
from segkit.losses.ohem import OHEM
from segkit.losses.region import Dice, FocalTversky, Jaccard, Tversky

hypothesis = pytest.importorskip("hypothesis")
given, settings, st = hypothesis.given, hypothesis.settings, hypothesis.strategies

few = settings(max_examples=12, deadline=None, derandomize=True)
drawn = given(seed=st.integers(0, 10**6), classes=st.integers(2, 6), ignored=st.sampled_from([0.0, 0.3, 0.95]))


def draw(seed: int, classes: int, ignored: float) -> tuple[torch.Tensor, torch.Tensor]:
    """-> logits float64 [2,K,5,6] and target int64 [2,5,6] with at least one valid pixel."""
    rng = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn((2, classes, 5, 6), generator=rng, dtype=torch.float64)
    target = torch.randint(0, classes, (2, 5, 6), generator=rng)
    target[torch.rand((2, 5, 6), generator=rng) < ignored] = 255
    target[0, 0, 0] = 0
    return logits, target


def binary(seed: int, ignored: float) -> tuple[torch.Tensor, torch.Tensor]:
    logits, target = draw(seed, 2, ignored)
    return logits[:, :1], target


def assert_equal(loss: torch.Tensor, other: torch.Tensor) -> None:
    torch.testing.assert_close(loss, other, rtol=1e-9, atol=1e-12)


@few
@drawn
def test_bce_is_the_cross_entropy_of_two_classes_with_logits_0_and_x(seed, classes, ignored):
    logits, target = binary(seed, ignored)
    both = torch.cat([torch.zeros_like(logits), logits], dim=1)
    assert_equal(BinaryCrossEntropy()(logits, target), CrossEntropy()(both, target))


@few
@drawn
def test_index_targets_and_their_one_hot_form_agree(seed, classes, ignored):
    logits, target = draw(seed, max(classes, 3), ignored)
    valid = target != 255
    onehot = torch.zeros_like(logits).scatter_(1, (target * valid).unsqueeze(1), 1.0)
    onehot = torch.where(valid.unsqueeze(1), onehot, 255.0)
    alpha = torch.linspace(0.1, 0.9, logits.shape[1]).tolist()
    for loss in (
        BinaryCrossEntropy(),
        BinaryCrossEntropy(sum_classes=True),
        SigmoidFocal(alpha=0.25),
        SigmoidFocal(alpha=alpha, gamma=1.5),
        Combo(0.6, 0.7),
        Dice("sigmoid"),
        Dice(),
        Tversky(),
        Jaccard(squared=True),
    ):
        assert_equal(loss(logits, target), loss(logits, onehot))


@few
@drawn
def test_unit_weights_and_soft_one_hot_targets_are_plain_cross_entropy(seed, classes, ignored):
    logits, target = draw(seed, classes, ignored)
    plain = CrossEntropy()(logits, target)
    assert_equal(CrossEntropy([1.0] * classes)(logits, target), plain)
    valid = target != 255
    soft = torch.zeros_like(logits).scatter_(1, (target * valid).unsqueeze(1), 1.0) * valid.unsqueeze(1)
    assert_equal(CrossEntropy()(logits, soft), plain)
    weights = torch.linspace(0.5, 2, classes).tolist()
    assert_equal(CrossEntropy(weights)(logits, soft), CrossEntropy(weights)(logits, target))
    assert_equal(CrossEntropy(average="all")(logits, target), plain * valid.double().mean())


@few
@drawn
def test_focal_losses_without_focus_are_cross_entropies(seed, classes, ignored):
    logits, target = draw(seed, classes, ignored)
    assert_equal(Focal(gamma=0.0)(logits, target), CrossEntropy()(logits, target))
    assert_equal(Focal(gamma=0.0, alpha=1.0)(logits, target), CrossEntropy()(logits, target))
    assert_equal(SigmoidFocal(gamma=0.0)(logits, target), BinaryCrossEntropy()(logits, target))
    assert_equal(SigmoidFocal(alpha=0.5)(logits, target), SigmoidFocal()(logits, target) / 2)
    one, labels = binary(seed, ignored)
    assert_equal(BinaryFocal(0.0, None, per_sample=False, ignore=255)(one, labels), BinaryCrossEntropy()(one, labels))
    assert_equal(BinaryFocal(2.0, 0.3, per_sample=False, ignore=255)(one, labels), SigmoidFocal(alpha=0.3)(one, labels))


@few
@drawn
def test_a_perfect_prediction_has_no_region_loss(seed, classes, ignored):
    _, target = draw(seed, classes, ignored)
    valid = (target != 255).unsqueeze(1)
    perfect = torch.full((2, classes, 5, 6), -100.0, dtype=torch.float64)
    perfect.scatter_(1, target.unsqueeze(1) * valid, 100.0)
    for loss in (Dice(), Dice(per_image=True, squared=True), Jaccard(log=True), Tversky(), LovaszSoftmax()):
        assert loss(perfect, target).abs() < 1e-6


@few
@drawn
def test_relations_between_region_losses(seed, classes, ignored):
    logits, target = draw(seed, classes, ignored)
    dice = Dice(eps=0.0)(logits, target)
    assert_equal(Tversky(0.5, 0.5, eps=0.0)(logits, target), dice)
    assert_equal(Tversky(1.0, 1.0, eps=0.0)(logits, target), Jaccard(eps=0.0)(logits, target))
    assert_equal(FocalTversky(gamma=1.0)(logits, target), Tversky()(logits, target))
    one, label = binary(seed, ignored)
    label[0, 0, 0] = 1
    score = 1 - Dice("sigmoid", eps=0.0)(one, label)
    assert_equal(1 - Jaccard("sigmoid", eps=0.0)(one, label), score / (2 - score))
    assert_equal(Dice(per_image=True)(logits[:1], target[:1]), Dice()(logits[:1], target[:1]))


@few
@drawn
def test_combo_at_its_ends(seed, classes, ignored):
    logits, target = draw(seed, max(classes, 3), ignored)
    assert_equal(Combo(1.0, 0.5)(logits, target), BinaryCrossEntropy()(logits, target) / 2)
    one, label = binary(seed, ignored)
    assert_equal(Combo(0.0)(one, label), Dice("sigmoid", smooth=1.0, eps=0.0, absent="count")(one, label))


def test_empty_label_and_empty_prediction_have_no_dice_loss_with_smoothing():
    logits, target = torch.full((1, 1, 4, 4), -200.0), torch.zeros((1, 4, 4), dtype=torch.int64)
    assert Dice("sigmoid", smooth=1.0, absent="count")(logits, target) < 1e-6
    assert Dice("sigmoid", smooth=0.0, absent="count")(logits, target) == 1


@few
@drawn
def test_lovasz_at_hard_predictions_is_the_jaccard_loss(seed, classes, ignored):
    logits, target = draw(seed, classes, ignored)
    hard = logits.argmax(1)
    sure = torch.zeros_like(logits).scatter_(1, hard.unsqueeze(1), 200.0)
    valid = target != 255
    ious = [
        ((hard == c) & (target == c) & valid).sum() / (((hard == c) | (target == c)) & valid).sum()
        for c in range(classes)
        if (target == c).any()
    ]
    assert LovaszSoftmax()(sure, target).item() == pytest.approx(1 - float(sum(ious) / len(ious)), abs=1e-6)
    one, label = binary(seed, ignored)
    label[0, 0, 0] = 1
    guess, valid = one[:, 0] > 0, label != 255
    iou = (guess & (label == 1)).sum() / ((guess | (label == 1)) & valid).sum()
    # a wrong pixel at logit +-1 has the hinge error 2, a right one 0
    assert LovaszHinge()(torch.where(one > 0, 1.0, -1.0).double(), label).item() == pytest.approx(2 * (1 - float(iou)))


def lovasz_by_definition(errors: np.ndarray, foreground: np.ndarray) -> float:
    """Sum over i of e_i (loss of the i largest - loss of the i - 1 largest errors): eq. 8 of the paper, set by set."""
    order = sorted(range(len(errors)), key=lambda i: -errors[i])

    def jaccard_loss(wrong: set) -> float:
        true = {i for i in range(len(errors)) if foreground[i]}
        hits = len(true - wrong)
        return 1 - hits / len(true | wrong) if true | wrong else 0.0

    steps = [jaccard_loss(set(order[: i + 1])) - jaccard_loss(set(order[:i])) for i in range(len(order))]
    return float(sum(errors[i] * step for i, step in zip(order, steps)))


@few
@drawn
def test_lovasz_equals_its_definition(seed, classes, ignored):
    logits, target = draw(seed, classes, ignored)
    for per_image in (False, True):
        means = []
        for images in [[0], [1]] if per_image else [[0, 1]]:
            labels = target[images].flatten().numpy()
            p = logits[images].softmax(1).transpose(0, 1).flatten(1).numpy()[:, labels != 255]
            labels = labels[labels != 255]
            values = [lovasz_by_definition(np.abs((labels == c) - p[c]), labels == c) for c in set(labels.tolist())]
            means.append(np.mean(values) if values else 0.0)
        loss = LovaszSoftmax(per_image=per_image)
        assert loss(logits, target).item() == pytest.approx(np.mean(means))
        assert loss(logits.float(), target).item() == pytest.approx(np.mean(means), rel=1e-5, abs=1e-7)
    one, label = binary(seed, ignored)
    keep = label != 255
    margin = (1 - torch.where(label == 1, one[:, 0], -one[:, 0]))[keep].numpy()
    for elu, errors in ((False, margin.clip(0)), (True, np.where(margin > 0, margin, np.expm1(margin)) + 1)):
        expected = lovasz_by_definition(errors, (label == 1)[keep].numpy())
        assert LovaszHinge(elu=elu)(one, label).item() == pytest.approx(expected)
        assert LovaszHinge(elu=elu)(one.float(), label).item() == pytest.approx(expected, rel=1e-5)


@few
@drawn
def test_order_of_pixels_does_not_matter(seed, classes, ignored):
    logits, target = draw(seed, classes, ignored)
    order = torch.randperm(30, generator=torch.Generator().manual_seed(seed))
    moved = logits.flatten(2)[:, :, order].view_as(logits), target.flatten(1)[:, order].view_as(target)
    for loss in (CrossEntropy(), Focal(), Dice(per_image=True), LovaszSoftmax(), OHEM(min_kept=7)):
        assert_equal(loss(*moved), loss(logits, target))


@few
@drawn
def test_ohem_that_keeps_all_is_its_loss(seed, classes, ignored):
    logits, target = draw(seed, classes, ignored)
    assert_equal(OHEM(threshold=1.1)(logits, target), CrossEntropy()(logits, target))
    assert_equal(OHEM(threshold=None, min_kept=60)(logits, target), CrossEntropy()(logits, target))
    assert_equal(OHEM(Focal(), threshold=1.1, average="all")(logits, target), Focal(average="all")(logits, target))
    p = logits.softmax(1).gather(1, (target * (target != 255)).unsqueeze(1)).squeeze(1)
    kept = OHEM(threshold=0.4, min_kept=0).kept(logits, target)
    assert torch.equal(kept, (target != 255) & (p < max(0.4, p[target != 255].min())))


@few
@drawn
def test_distillation_from_itself_is_0_and_never_negative(seed, classes, ignored):
    logits, target = draw(seed, classes, ignored)
    student = logits.clone().requires_grad_()
    value = KLDistillation(3.0)(student, logits, target)
    value.backward()
    assert value.abs() < 1e-12 and student.grad.abs().max() < 1e-12
    other, _ = draw(seed + 1, classes, ignored)
    assert KLDistillation(3.0)(logits, other, target) > 0
