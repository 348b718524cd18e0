"""STAR-Basic against the numbers of the authors' trainer on VOC: tests/fixtures/steps."""

from copy import deepcopy

import numpy as np
import pytest
import torch

from segkit.ops.incremental.prototypes import ClassStatistics
from segkit.ops.incremental.turned_prototypes import (
    FARTHEST,
    draw_class_directions,
    draw_directions,
    shares_as_counted,
)
from tests.incremental.star_oracle import Net, check_weights, found_in, sums_of, train_first, train_second
from tests.incremental.steps_oracle import stored

TRAINED = stored("star_tpami_trainer.npz")
STEP0, STEP1 = "overlap_dist/step0", "overlap_dist/step1"


@pytest.fixture(scope="module")
def first() -> Net:
    model, values = train_first()
    np.testing.assert_allclose(values, TRAINED[f"{STEP0}/loss"], rtol=1e-4)
    return model


@pytest.fixture(scope="module")
def old(first) -> ClassStatistics:
    """Of a network in training mode: no validation came between the authors' last batch and their statistics."""
    counting = deepcopy(first).train()
    statistics = sums_of(counting, 0, [1, 2, 3]).result()
    sums_of(counting, 0, [1, 2, 3])  # a second pass measures the distances, and moves the running statistics again
    check_weights(counting, TRAINED, f"{STEP0}/final")
    return statistics


def test_statistics_of_the_first_step_are_the_published_ones(old):
    np.testing.assert_allclose(old.counts, TRAINED[f"{STEP0}/saved/numbers"])
    np.testing.assert_allclose(old.prototypes[:, ::4], TRAINED[f"{STEP0}/saved/prototypes"], atol=1e-5)
    np.testing.assert_allclose(old.distances(), TRAINED[f"{STEP0}/saved/dist_noise"], rtol=1e-5)


def test_second_step_is_the_published_one(first, old):
    teacher = deepcopy(first).requires_grad_(False)
    seen = found_in(teacher)
    assert seen.tolist() == TRAINED[f"{STEP1}/pred_numbers"].tolist()
    shares = shares_as_counted(old.counts, seen, 3, 2, is_overlapped=True)
    assert shares.numbers == TRAINED[f"{STEP1}/per_iter_prev_number"].tolist()
    assert shares.background == pytest.approx(float(TRAINED[f"{STEP1}/extra_bg_ratio"]), rel=1e-6)

    drawn = TRAINED[f"{STEP1}/fake_features"]
    second, terms, regions = train_second(teacher, old, shares.background, drawn, has_lengths=False)
    assert torch.equal(torch.stack(regions), torch.from_numpy(TRAINED[f"{STEP1}/region_bg"]) > 0)
    for name, values in terms.items():
        np.testing.assert_allclose(values, TRAINED[f"{STEP1}/{name}"], rtol=1e-4, atol=1e-6, err_msg=name)
    check_weights(second, TRAINED, f"{STEP1}/final")
    # the authors' code measures the distances of the new classes from the prototypes of the first old ones
    new = sums_of(second, 1, [4, 5]).result(centers=old.prototypes[:2])
    kept = old.followed_by(new, torch.cat([shares.kept, new.counts[1:]]))
    np.testing.assert_allclose(kept.counts, TRAINED[f"{STEP1}/saved/numbers"])
    np.testing.assert_allclose(kept.prototypes[:, ::4], TRAINED[f"{STEP1}/saved/prototypes"], atol=1e-5)
    distances = TRAINED[f"{STEP1}/saved/dist_noise"]
    np.testing.assert_allclose(kept.distances()[3:], distances[3:], rtol=1e-4)
    # the authors replace those of old classes by their mean, which changes no later mean
    np.testing.assert_allclose(old.distances().mean().expand(3), distances[:3], rtol=1e-5)
    np.testing.assert_allclose(kept.distances().mean(), distances.mean(), rtol=1e-5)


def test_drawn_features_lie_where_the_published_ones_do(old):
    """51 published features, and 3,400 drawn here: distances from the prototypes, by their quartiles."""
    ours = np.concatenate([draw_directions(old, [7, 3, 7], np.random.default_rng(seed)) for seed in range(200)])
    theirs = TRAINED[f"{STEP1}/fake_features"].reshape(-1, 256)
    index = np.repeat([0, 1, 2], [7, 3, 7])
    near, published = (
        np.linalg.norm(drawn.reshape(-1, 17, 256) - old.prototypes[index].numpy(), axis=2).ravel()
        for drawn in (ours, theirs)
    )
    assert np.abs(np.quantile(near, [0.25, 0.5, 0.75]) - np.quantile(published, [0.25, 0.5, 0.75])).max() < 0.15
    assert max(near.max(), published.max()) <= 2**0.5 + 1e-4


# -- by hand


def statistics(distances: list[float]) -> ClassStatistics:
    """Classes along the first axes of a space of 40 dimensions."""
    number = len(distances)
    noise = torch.zeros(number, 40)
    noise[:, 5] = torch.tensor(distances)
    nothing = torch.zeros(number)
    return ClassStatistics(torch.zeros(1 + number), torch.eye(40)[:number], nothing, nothing, noise, torch.zeros(1))


@pytest.mark.parametrize(("draw", "expected"), [(draw_directions, [0.3, 0.3]), (draw_class_directions, [0.2, 0.4])])
def test_drawn_directions_scatter_as_stored(draw, expected):
    drawn = draw(statistics([0.2, 0.4]), [20_000, 20_000], np.random.default_rng(0))
    np.testing.assert_allclose(drawn.norm(dim=1), 1, atol=1e-6)
    for i, distance in enumerate(expected):
        features = drawn[20_000 * i : 20_000 * (i + 1)]
        squared = (features - torch.eye(40)[i]).square().sum(1)
        assert squared.mean().sqrt().item() == pytest.approx(distance, rel=0.02)
        aside = torch.cat([features[:, :i], features[:, i + 1 :]], 1)
        np.testing.assert_allclose(aside.mean(0), 0, atol=0.01)
        assert aside.square().mean(0).max() < 1.1 * aside.square().mean(0).min()
    again = draw(statistics([0.2, 0.4]), [20_000, 20_000], np.random.default_rng(0))
    assert torch.equal(drawn, again) and draw(statistics([0.2, 0.4]), [0, 0], np.random.default_rng(0)).shape == (0, 40)


def test_a_turn_beyond_a_right_angle_is_mirrored():
    drawn = draw_directions(statistics([30.0]), [1000], np.random.default_rng(0))
    assert drawn[:, 0].min() >= 0 and drawn.isfinite().all()
    assert drawn[:, 0].median().item() == pytest.approx(FARTHEST**2 / 2 - 1, abs=1e-4)


def test_a_class_without_a_pixel_is_left_out_of_the_mean_distance():
    few = statistics([0.5, 0.0])
    few.prototypes[1] = 0
    drawn = draw_directions(few, [20_000, 0], np.random.default_rng(0))
    assert (drawn - few.prototypes[0]).square().sum(1).mean().sqrt().item() == pytest.approx(0.5, rel=0.02)
    none = statistics([0.0])
    none.prototypes[0] = 0
    assert draw_directions(none, [0], np.random.default_rng(0)).shape == (0, 40)


@pytest.mark.parametrize("is_overlapped", [True, False])
def test_shares_by_hand(is_overlapped):
    """31, 22, 9, 22 positions before; the teacher finds 8, 41, 4, 0; the setting changes nothing."""
    shares = shares_as_counted(
        torch.tensor([31.0, 22, 9, 22]), torch.tensor([8.0, 41, 4, 0]), 3, 2, is_overlapped=is_overlapped
    )
    assert shares.numbers == [7, 3, 7] and shares.background == 31 / 8 and shares.kept.tolist() == [39, 22, 9, 22]
    assert np.isfinite(shares_as_counted(torch.ones(2), torch.zeros(2), 1, 1, is_overlapped=True).background)
