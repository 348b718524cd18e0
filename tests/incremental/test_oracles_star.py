"""STAR against the numbers of the authors' trainer: tests/fixtures/steps. The steps are written out here."""

import gzip
import json
from copy import deepcopy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from segkit.convert.keymap import load_map
from segkit.losses.incremental.star import PrototypeContrast, PseudoRegionMSE, ReplayBCE, region_mse
from segkit.ops.incremental.prototypes import (
    ClassStatistics,
    FeatureSums,
    draw_features,
    labels_at,
    replay_shares,
)
from tests.archs_table import build
from tests.incremental.star_oracle import check_weights, found_in, sums_of, train_first, train_second
from tests.incremental.steps_oracle import FOLDER, by_rule, resized, stored

LOSSES, TRAINED = stored("star_losses.npz"), stored("star_trainer.npz")


def part(prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): torch.from_numpy(LOSSES[k]) for k in LOSSES if k.startswith(prefix)}


def close(ours: Tensor, theirs: Tensor, tolerance: float) -> bool:
    return float((ours.detach() - theirs).abs().max()) <= tolerance * float(theirs.abs().max())


@pytest.mark.parametrize("case", ["voc15-1", "voc15-5", "pw1"])
def test_cross_entropy_of_new_classes_is_the_published_one(case):
    arrays = part(f"wbce/{case}/")
    num_old, num_new, weight = arrays["old_new_posweight"].tolist()
    logits, label = arrays["logits"].requires_grad_(), arrays["label"].long()
    nothing = logits.new_zeros(0, int(num_new))
    old = logits.new_zeros(len(logits), int(num_old), *logits.shape[2:])
    value = ReplayBCE(pos_weight=weight)(torch.cat([old, logits], 1), nothing, nothing, torch.zeros(2), label)
    assert value.item() == pytest.approx(float(arrays["per_class"].sum()), rel=1e-6)
    assert close(torch.autograd.grad(value, logits)[0], arrays["grad_of_sum"], 1e-6)


@pytest.mark.parametrize("case", ["some", "one"])
def test_error_in_a_region_is_the_published_one(case):
    arrays = part(f"pkd/{case}/")
    new = arrays["new"].requires_grad_()
    value = region_mse(new, arrays["old"], arrays["region"][:, 0] > 0)
    assert value.item() == pytest.approx(arrays["value"].item(), rel=1e-9)
    assert close(torch.autograd.grad(value, new)[0], arrays["grad"], 1e-9)


@pytest.mark.parametrize("case", ["a", "absent"])
def test_contrast_of_prototypes_is_the_published_one(case):
    arrays = part(f"cont/{case}/")
    z = arrays["features"].requires_grad_()
    num_classes = len(arrays["prev_prototypes"]) + 2
    logits = z.new_zeros(2, num_classes, 4, 4)
    value = PrototypeContrast()(z, arrays["prev_prototypes"], logits, arrays["label"].long())
    assert value.item() == pytest.approx(arrays["value"].item(), rel=1e-9)
    assert close(torch.autograd.grad(value, z)[0], arrays["grad"], 1e-8)


# -- the network and its trainer


@pytest.mark.slow
def test_network_is_the_published_one():
    shapes = json.loads(gzip.decompress((FOLDER / "star_deeplabv3_resnet101_15-1.json.gz").read_bytes()))["shapes"]
    arrays = stored("star_forward.npz")
    grown = ("model.type=GrowingSegmentor", "model.grown=[1]", "model.backbone.pretrained=None")
    model = build("star_r101_os16", 15, grown, device="meta")
    keys = load_map("star")
    keys.check({name: tuple(shape) for name, shape in shapes.items()}, model.state_dict())
    whole = {name: torch.zeros((), dtype=torch.int64) for name in shapes if name.endswith("num_batches_tracked")}
    weights = {name: whole[name] if name in whole else by_rule(name, tuple(shapes[name])) for name in shapes}
    model.load_state_dict(keys.apply(weights), strict=True, assign=True)
    with torch.no_grad():
        body = model.eval().backbone(torch.from_numpy(arrays["input"]).float())
        logits = model.head(body)["logits"]
    parts = {"body_sub": body[-1][:, ::64], "logits_lowres": logits}
    parts["logits_sub"] = resized(logits, (97, 129))[:, :, ::8, ::8]
    for name, ours in parts.items():
        theirs = torch.from_numpy(arrays[name])
        assert ours.shape == theirs.shape and float((ours - theirs).abs().max() / theirs.std()) < 1e-3, name


def check_statistics(ours: ClassStatistics, at: str) -> None:
    np.testing.assert_allclose(ours.counts, TRAINED[f"{at}/numbers"], rtol=1e-6)
    np.testing.assert_allclose(ours.prototypes[:, ::4], TRAINED[f"{at}/prototypes"], atol=1e-5)
    lengths = torch.stack([ours.norm_mean, ours.norm_std])
    np.testing.assert_allclose(lengths, TRAINED[f"{at}/norm_mean_and_std"], rtol=1e-4)
    np.testing.assert_allclose(ours.noise[:, ::4], TRAINED[f"{at}/noise"], rtol=1e-4, atol=1e-6)


def test_two_steps_are_the_published_ones():
    first, values = train_first()
    np.testing.assert_allclose(values, TRAINED["overlap/step0/loss"], rtol=1e-4)
    check_weights(first, TRAINED, "overlap/step0/final")
    old = sums_of(first, 0, [1, 2, 3]).result()
    check_statistics(old, "overlap/step0/saved")

    teacher = deepcopy(first).requires_grad_(False)
    seen = found_in(teacher)
    assert seen.tolist() == TRAINED["overlap/step1/pred_numbers"].tolist()
    shares = replay_shares(old.counts, seen, 3, 2, is_overlapped=True)
    assert shares.numbers == TRAINED["overlap/step1/per_iter_prev_number"].tolist()
    assert shares.background == pytest.approx(float(TRAINED["overlap/step1/extra_bg_ratio"]), rel=1e-6)

    second, terms, regions = train_second(teacher, old, shares.background, TRAINED["overlap/step1/fake_features"])
    assert torch.equal(torch.stack(regions), torch.from_numpy(TRAINED["overlap/step1/region_bg"]) > 0)
    for name, values in terms.items():
        np.testing.assert_allclose(values, TRAINED[f"overlap/step1/{name}"], rtol=1e-4, atol=1e-6, err_msg=name)
    check_weights(second, TRAINED, "overlap/step1/final")
    # the authors' code measures the noise of the new classes from the prototypes of the first old ones
    new = sums_of(second, 1, [4, 5]).result(centers=old.prototypes[:2])
    check_statistics(old.followed_by(new, torch.cat([shares.kept, new.counts[1:]])), "overlap/step1/saved")


# -- by hand


def test_shares_by_hand():
    """31, 22, 9, 22 positions before; the teacher finds 8, 41, 4, 0 in the new images; 3 batches, 2 new classes."""
    old, seen = torch.tensor([31.0, 22, 9, 22]), torch.tensor([8.0, 41, 4, 0])
    shares = replay_shares(old, seen, 3, 2, is_overlapped=True)
    assert shares.numbers == [0, 1, 7] and shares.background == pytest.approx(31 * 0.98 / 8 - 0.5)
    assert shares.kept.tolist() == pytest.approx([31 * 0.98 + 4, 22, 9, 22])
    shares = replay_shares(old, seen, 3, 2, is_overlapped=False)
    assert shares.numbers == [7, 3, 7] and shares.background == pytest.approx(31 / 8)
    assert shares.kept.tolist() == [39, 63, 13, 22]


def test_no_background_in_the_new_images_replays_a_finite_share():
    shares = replay_shares(torch.tensor([4.0, 1.0]), torch.zeros(2), 1, 1, is_overlapped=True)
    assert np.isfinite(shares.background)


def test_statistics_by_hand():
    """Class 1: (3, 4) and (0, 2); class 2 has one position, class 3 none; 9 is another step's."""
    z = torch.tensor([[3.0, 4.0], [0.0, 2.0], [1.0, 0.0], [5.0, 5.0], [7.0, 7.0]]).t().reshape(1, 2, 1, 5)
    sums = FeatureSums([1, 2, 3], 2)
    sums.add(z[..., :2], torch.tensor([[[1, 1]]]))
    sums.add(z[..., 2:], torch.tensor([[[2, 0, 9]]]))
    found = sums.result()
    direction = np.array([0.6, 1.8]) / np.hypot(0.6, 1.8)
    assert found.counts.tolist() == [1, 2, 1, 0]
    np.testing.assert_allclose(found.prototypes, [direction, [1, 0], [0, 0]], atol=1e-6)
    np.testing.assert_allclose(found.norm_mean, [3.5, 1, 0])
    np.testing.assert_allclose(found.norm_std, [np.std([5, 2], ddof=1), 0, 0], rtol=1e-6)
    noise = np.sqrt(np.mean((np.array([[0.6, 0.8], [0, 1]]) - direction) ** 2, 0))
    np.testing.assert_allclose(found.noise, [noise, [0, 0], [0, 0]], atol=1e-6)
    moved = sums.result(centers=torch.zeros(3, 2)).noise
    np.testing.assert_allclose(moved[:2], [[0.18**0.5, 0.82**0.5], [1, 0]], rtol=1e-6)
    np.testing.assert_allclose(found.means, [[5, 5], [1.5, 3], [1, 0], [0, 0]])
    nothing = FeatureSums([1], 2).result().as_dict()  # as of a process without an image
    assert all(not value.any() and value.isfinite().all() for value in nothing.values())


def test_drawn_features_have_the_stored_statistics():
    statistics = ClassStatistics(
        counts=torch.zeros(3),
        prototypes=torch.tensor([[1.0, 0.0], [0.0, 1.0]]),
        norm_mean=torch.tensor([5.0, 2.0]),
        norm_std=torch.tensor([0.0, 0.5]),
        noise=torch.tensor([[0.0, 0.0], [0.1, 0.2]]),
        means=torch.zeros(3, 2),
    )
    drawn = draw_features(statistics, [2, 40_000], np.random.default_rng(0))
    assert drawn[:2].tolist() == [[5.0, 0.0], [5.0, 0.0]]
    np.testing.assert_allclose(drawn[2:].mean(0), [0.0, 2.0], atol=0.02)
    # (p + n e)(m + d e'): variance n^2 (m^2 + d^2) + p^2 d^2
    np.testing.assert_allclose(drawn[2:].std(0), [0.1 * 4.25**0.5, (0.04 * 4.25 + 0.25) ** 0.5], rtol=0.02)
    again = draw_features(statistics, [2, 40_000], np.random.default_rng(0))
    assert torch.equal(drawn, again) and draw_features(statistics, [0, 0], np.random.default_rng(0)).shape == (0, 2)


def test_labels_are_those_at_the_centers_of_cells():
    labels = torch.arange(64 * 32).view(1, 64, 32)
    assert torch.equal(labels_at(labels, (4, 2)), labels[:, 8::16, 8::16])
    assert labels_at(torch.arange(5).view(1, 1, 5), (1, 2)).tolist() == [[[1, 3]]]


@pytest.mark.parametrize("label", [255, 4])
def test_no_pseudo_pixel_gives_zero(label):
    """The teacher finds a class, but the step labels everything: STAR's own code gives nan here."""
    z = torch.randn(1, 3, 2, 2, generator=torch.Generator().manual_seed(0)).requires_grad_()
    value = PseudoRegionMSE()(z, z.detach() + 1, torch.full((1, 3, 2, 2), 9.0), torch.full((1, 32, 32), label))
    assert value == 0 and not torch.autograd.grad(value, z)[0].any()
    value = PseudoRegionMSE()(z, z.detach() + 1, torch.full((1, 3, 2, 2), 9.0), torch.zeros(1, 32, 32))
    assert value.item() == pytest.approx(1.0)


def test_no_new_pixel_keeps_the_contrast_finite():
    z = torch.randn(1, 3, 2, 2, generator=torch.Generator().manual_seed(0)).requires_grad_()
    value = PrototypeContrast()(z, torch.eye(3)[:2], torch.zeros(1, 3, 2, 2), torch.zeros(1, 32, 32))
    assert value == 1 and not torch.autograd.grad(value, z)[0].any()


def test_old_class_without_a_pixel_is_no_neighbour():
    z = torch.tensor([0.0, 1.0]).view(1, 2, 1, 1).requires_grad_()
    target, logits = torch.full((1, 16, 16), 3), torch.zeros(1, 3, 1, 1)
    value = PrototypeContrast()(z, torch.tensor([[0.0, 0.0], [1.0, 0.0]]), logits, target)
    assert value.item() == pytest.approx(2**-0.5)


def test_replay_without_features_or_background_is_the_images_alone():
    logits = torch.randn(1, 4, 2, 2, generator=torch.Generator().manual_seed(0)).requires_grad_()
    nothing, target = torch.zeros(0, 2), torch.tensor([[[0, 3], [4, 255]]])
    value = ReplayBCE(2.0)(logits, nothing, nothing, torch.zeros(2), target)
    x, y = logits[0, 2:].detach().flatten(1), torch.tensor([[0, 1, 0, 0], [0, 0, 1, 0]])
    element = torch.where(y == 1, 2 * F.softplus(-x), F.softplus(x))
    assert value.item() == pytest.approx(float(element.sum() / 4), rel=1e-6)
    value = ReplayBCE(2.0, ignored="left_out")(logits, nothing, nothing, torch.zeros(2), target)
    assert value.item() == pytest.approx(float(element[:, :3].sum() / 3), rel=1e-6)
    value = ReplayBCE(2.0)(logits, torch.zeros(3, 2), torch.ones(1, 2), torch.tensor([0.5, 0.25]), target)
    negatives = 0.5 * 2 * np.log(2) + 0.25 * 2 * float(F.softplus(torch.tensor(1.0)))
    assert value.item() == pytest.approx((float(element.sum() / 4) + negatives) / 1.75, rel=1e-6)
