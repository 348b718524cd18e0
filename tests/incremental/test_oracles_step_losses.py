"""RCIL's, MicroSeg's, UCD's and REMINDER's terms against the numbers of the published code: tests/fixtures/steps."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from segkit.losses.incremental.class_similarity import ClassSimilarityKD, similarity_weights, weighted_distillation
from segkit.losses.incremental.pixel_contrast import UncertaintyContrast
from segkit.losses.incremental.pooled_cube import ChannelCube, PooledCube
from segkit.losses.incremental.unknown_contrast import UnknownContrast
from segkit.ops.incremental.prototypes import class_sums
from segkit.registry import LOSSES, build
from tests.incremental.steps_oracle import stored


def part(name: str, prefix: str) -> dict[str, Tensor]:
    arrays = stored(f"{name}.npz")
    return {key.removeprefix(prefix): torch.from_numpy(arrays[key]) for key in arrays if key.startswith(prefix)}


def close(ours: Tensor, theirs: Tensor, tolerance: float) -> bool:
    """Within the tolerance of the largest entry."""
    return float((ours - theirs).abs().max()) <= tolerance * float(theirs.abs().max())


@pytest.mark.parametrize("form, count", [("spatial", 4), ("channel", 3)])
def test_pooled_cube_is_the_published_one(form, count):
    arrays = part("rcil", "distil/voc/")
    new = [arrays[f"new{i}"].clone().requires_grad_() for i in range(4)]
    pairs = [value for i in range(3) for value in (new[i], arrays[f"old{i}"])]
    loss = PooledCube() if form == "spatial" else ChannelCube()
    value = loss(new[3], arrays["old3"], *pairs)
    assert value.item() == pytest.approx(arrays[f"{form}/value"].item(), rel=1e-6)
    gradients = torch.autograd.grad(value, new[:count], allow_unused=True)
    for i, gradient in enumerate(gradients):
        assert close(gradient, arrays[f"{form}/grad{i}"], 1e-5)


def test_pooled_cube_by_hand():
    """One position and one window of 1: the mean of the weighted norms of x^2 - t^2 times sqrt(3 / 1)."""
    logits, teacher = torch.tensor([1.0, 2.0, 3.0]).view(1, 3, 1, 1), torch.tensor([2.0, 1.0]).view(1, 2, 1, 1)
    own, other = torch.full((1, 1, 1, 1), 2.0), torch.ones(1, 1, 1, 1)
    of_logits = ((16 - 4) ** 2 + (4 - 1) ** 2) ** 0.5
    expected = 3**0.5 * (0.5 * 3 + 0.1 * of_logits) / 2
    assert PooledCube(0.5, 0.1, windows=(1,))(logits, teacher, own, other).item() == pytest.approx(expected)
    assert ChannelCube(0.5, 0.1, window=1)(logits, teacher, own, other).item() == pytest.approx(3**0.5 * 0.1 * 3)


@pytest.mark.parametrize("loss", [PooledCube, ChannelCube])
def test_maps_without_partner_are_refused(loss):
    x = torch.zeros(1, 3, 4, 4)
    with pytest.raises(ValueError, match="pairs"):
        loss()(x, x[:, :2], x)
    with pytest.raises(ValueError, match="shapes must agree"):
        loss()(x, x[:, :2], x, torch.zeros(1, 3, 5, 4))


def test_windows_of_channels_are_odd():
    with pytest.raises(ValueError, match="must be odd"):
        ChannelCube(window=4)


def test_unknown_contrast_is_the_published_one():
    arrays = part("microseg", "unseen/a/")
    x = arrays["x"].requires_grad_()
    value = UnknownContrast()(x)
    assert value.item() == pytest.approx(arrays["value"].item(), rel=1e-9)
    assert close(torch.autograd.grad(value, x)[0], arrays["grad"], 1e-9)


@pytest.mark.parametrize("case", ["a", "delta"])
def test_class_similarity_distillation_is_the_published_one(case):
    arrays = part("reminder", f"csw/{case}/")
    logits, delta = arrays["student"].requires_grad_(), float(arrays["delta"])
    weight = similarity_weights(arrays["batch_prototypes"], arrays["prototypes"], delta)
    labels = torch.where(arrays["mask"].view(arrays["seg"].shape) > 0, arrays["seg"].long(), -1)
    value = weighted_distillation(logits, arrays["teacher"], weight, labels, temperature=3.0)
    assert value.item() == pytest.approx(arrays["value"].item(), rel=1e-9)
    assert close(torch.autograd.grad(value, logits)[0], arrays["grad"], 1e-9)
    assert (weight == 0).any() == (case == "delta")


def test_means_of_classes_are_the_published_ones():
    arrays = part("reminder", "prototype/")
    labels = arrays["seg"].long()
    sums = class_sums(arrays["features"], labels, 5)
    means = sums / F.one_hot(labels, 5).sum((0, 1, 2))[:, None]
    assert close(means.float(), arrays["value"], 1e-6)


def test_class_similarity_by_hand():
    """Features of class 1 are the first old mean, those of class 2 between both; class 0 is ignored."""
    features = torch.tensor([[1.0, 0.0], [3.0, 3.0], [9.0, 9.0]]).t().reshape(1, 2, 1, 3)
    target = torch.tensor([[[1, 2, 255]]])
    logits, teacher = torch.zeros(1, 3, 1, 3), torch.zeros(1, 2, 1, 3)
    value = ClassSimilarityKD(temperature=2.0)(logits, teacher, features, torch.eye(2), target)
    # even probabilities: T^2 sum_c w_c / 2 log 2 = 2 log 2 at every pixel, as the weights sum to 1
    assert value.item() == pytest.approx(2 * np.log(2), rel=1e-5)
    teacher[0, 0] = 2.0 * np.log(3)  # q = 3/4, 1/4
    first = np.e / (np.e + 1)
    expected = 4 * np.log(2) * np.mean([0.75 * first + 0.25 * (1 - first), 0.5])
    value = ClassSimilarityKD(temperature=2.0)(logits, teacher, features, torch.eye(2), target)
    assert value.item() == pytest.approx(expected, rel=1e-5)


def contrast_arrays() -> dict[str, Tensor]:
    return part("ucd", "con/a/")


def test_contrast_as_published():
    arrays = contrast_arrays()
    features = arrays["features_new"].requires_grad_()
    loss = UncertaintyContrast(as_published=True)
    value = loss(features, arrays["features_old"], arrays["logits_old"], arrays["label_hw"].long())
    assert value.item() == pytest.approx(arrays["value"].item(), rel=1e-5)
    assert close(torch.autograd.grad(value, features)[0], arrays["grad"], 1e-4)


def slow_contrast(arrays: dict[str, Tensor], temperature: float = 0.07) -> float:
    """Anchor after anchor and partner after partner, in float64."""
    label = arrays["label_hw"].long().flatten()
    flat = {
        name: arrays[name].double().permute(0, 2, 3, 1).flatten(0, 2)
        for name in ("features_new", "features_old", "logits_old")
    }
    q = flat["logits_old"].softmax(1)
    found = torch.where(label > 0, label, q.argmax(1))
    sides = [(i, flat["features_new"][i]) for i in range(len(label)) if found[i] > 0]
    others = sides + [(i, flat["features_old"][i]) for i in range(len(label)) if found[i] > 0 and label[i] == 0]
    values = []
    for n, (i, anchor) in enumerate(sides):
        score = [float(F.cosine_similarity(anchor, x, dim=0)) / temperature for _, x in others]
        rest = sum(np.exp(s) for s, (j, _) in zip(score, others) if found[j] != found[i])
        terms = []
        for m, (j, _) in enumerate(others):
            if m != n and found[j] == found[i]:
                agree = 1.0 if min(found[i], found[j]) >= q.shape[1] else float(q[i] @ q[j])
                terms.append(-agree * np.log(np.exp(score[m]) / (np.exp(score[m]) + rest)))
        if terms:
            values.append(np.mean(terms))
    return float(np.mean(values))


def test_consistent_contrast_is_the_formula():
    arrays = contrast_arrays()
    value = UncertaintyContrast()(
        arrays["features_new"], arrays["features_old"], arrays["logits_old"], arrays["label_hw"].long()
    )
    assert value.item() == pytest.approx(slow_contrast(arrays), rel=1e-5)
    assert value.item() == pytest.approx(7.44, abs=0.005)


@pytest.mark.parametrize("as_published", [False, True])
@pytest.mark.parametrize("label", [0, 255])
def test_contrast_without_a_class_is_zero(as_published, label):
    """The teacher finds background alone, and the step labels nothing: no anchor, and a finite gradient."""
    features = torch.randn(1, 4, 3, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
    teacher = torch.tensor([5.0, 0.0, 0.0]).view(1, 3, 1, 1).expand(1, 3, 3, 3)
    target = torch.full((1, 12, 12), label)
    value = UncertaintyContrast(as_published=as_published)(features, features.detach(), teacher, target)
    (gradient,) = torch.autograd.grad(value, features)
    assert value == 0 and not gradient.any()


def test_contrast_of_a_batch_without_new_pixels_is_finite():
    rng = torch.Generator().manual_seed(0)
    features = torch.randn(1, 4, 3, 3, generator=rng).requires_grad_()
    teacher = torch.randn(1, 3, 3, 3, generator=rng)
    for as_published in (False, True):
        loss = UncertaintyContrast(as_published=as_published)
        value = loss(features, features.detach(), teacher, torch.zeros(1, 12, 12, dtype=torch.int64))
        assert value > 0 and torch.autograd.grad(value, features)[0].isfinite().all()


def inputs_of(name: str, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    """What a loss takes, the first of which trains: 3 old classes, of 5 or, without the background, of 4 outputs."""
    rng = torch.Generator().manual_seed(0)
    z, old = (torch.randn(2, 6, 4, 5, generator=rng).to(dtype) for _ in range(2))
    logits, taught = (torch.randn(2, count, 4, 5, generator=rng).mul(3).to(dtype) for count in (5, 3))
    target = torch.randint(0, 5, (2, 16, 20), generator=rng)
    target[:, :3] = 255
    prototypes = F.normalize(torch.randn(3, 6, generator=rng), dim=1)
    return {
        "UncertaintyContrast": [z, old, taught, target],
        "PseudoRegionMSE": [z, old, taught, target],
        "PrototypeContrast": [z, prototypes, logits, target],
        "ReplayBCE": [logits, logits[0, :2, 0].t(), logits[1, :2, 1].t(), torch.tensor([0.5, 0.25]), target],
        "ClassSimilarityKD": [logits, taught, z, prototypes, target],
        "UnknownContrast": [z],
    }[name]


@pytest.mark.parametrize(
    "name", [*("UncertaintyContrast", "PseudoRegionMSE", "PrototypeContrast"), "ClassSimilarityKD", "UnknownContrast"]
)
def test_losses_are_float32_and_finite(name):
    loss = build(dict(type=name), LOSSES, name)
    first, *rest = inputs_of(name)
    first.requires_grad_()
    value = loss(first, *rest)
    (gradient,) = torch.autograd.grad(value, first)
    assert value.dtype == torch.float32 and value > 0 and gradient.abs().sum() > 0
    low = loss(*inputs_of(name, torch.bfloat16))
    assert low.dtype == torch.float32 and low.item() == pytest.approx(value.item(), rel=0.05)
    for scale in (50.0, 1e4):
        large = torch.where(first.detach() > 0, scale, -scale).requires_grad_()
        value_of_large = loss(large, *rest)
        assert value_of_large.isfinite() and torch.autograd.grad(value_of_large, large)[0].isfinite().all()
    if rest:
        nothing = loss(first, *rest[:-1], torch.full_like(rest[-1], 255))
        assert nothing == (1 if name == "PrototypeContrast" else 0)  # its new classes are not shown


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [*("UncertaintyContrast", "PseudoRegionMSE", "PrototypeContrast"), "ClassSimilarityKD", "UnknownContrast"]
)
def test_losses_compile_as_one_graph(name):
    loss = build(dict(type=name), LOSSES, name)
    torch._dynamo.reset()
    compiled = torch.compile(loss, backend="aot_eager", fullgraph=True, dynamic=False)
    torch.testing.assert_close(compiled(*inputs_of(name)), loss(*inputs_of(name)))


def test_replay_is_float32_and_finite():
    loss = build(dict(type="ReplayBCE"), LOSSES, "ReplayBCE")
    logits, *rest = inputs_of("ReplayBCE")
    target = rest[-1][:, ::4, ::4]
    value = loss(logits.requires_grad_(), *rest[:-1], target)
    (gradient,) = torch.autograd.grad(value, logits)
    assert value.dtype == torch.float32 and gradient[:, :3].abs().sum() == 0 < gradient[:, 3:].abs().sum()
    low = [x.bfloat16() for x in (logits.detach(), *rest[:2])]
    assert loss(*low, rest[2], target).dtype == torch.float32
    huge = loss(*(1e4 * x for x in (logits, *rest[:2])), rest[2], target)
    assert huge.isfinite()
