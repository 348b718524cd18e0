"""Dealing items to parts: the guarantees, on random cases and on cases worked by hand."""

import numpy as np
import pytest

from segkit.data.splits.dealing import check_shares, deal, target_sizes
from segkit.files import DataError


def test_sizes_are_the_largest_remainders():
    assert target_sizes((0.8, 0.1, 0.1), 367).tolist() == [293, 37, 37]  # 293.6, 36.7, 36.7
    assert target_sizes((0.8, 0.1, 0.1), 10).tolist() == [8, 1, 1]
    assert target_sizes((0.9, 0.05, 0.05), 4).tolist() == [2, 1, 1]  # no part is empty
    assert target_sizes([1 / 3] * 3, 3).tolist() == [1, 1, 1]


@pytest.mark.parametrize("seed", range(60))
def test_guarantees_on_random_cases(seed):
    rng = np.random.default_rng(seed)
    n, num_classes, num_parts = int(rng.integers(6, 120)), int(rng.integers(1, 8)), int(rng.integers(2, 6))
    shares = rng.dirichlet(np.full(num_parts, 3.0))
    num_groups = n if seed % 4 == 0 else int(rng.integers(num_parts, n + 1))
    groups = rng.permutation(np.concatenate([np.arange(num_groups), rng.integers(0, num_groups, n - num_groups)]))
    present = [np.flatnonzero(rng.random(num_classes) < 0.2) for _ in range(n)] if seed % 3 else None
    parts = deal(shares, groups, present, num_classes=num_classes, seed=seed)
    counts = np.bincount(parts, minlength=num_parts)
    assert counts.sum() == n and (counts > 0).all()
    assert all(len({*parts[groups == group]}) == 1 for group in range(num_groups))
    largest = np.bincount(groups).max()
    assert (counts < target_sizes(shares, n) + largest).all()
    if num_groups == n:
        assert counts.tolist() == target_sizes(shares, n).tolist()
    assert np.array_equal(parts, deal(shares, groups, present, num_classes=num_classes, seed=seed))


@pytest.mark.parametrize("seed", range(20))
def test_a_rare_class_is_in_every_part_where_enough_images_hold_it(seed):
    """Three of a hundred images hold class 1, which chance would put into val and test once in a hundred times."""
    rng = np.random.default_rng(seed)
    rare = set(rng.choice(100, 3, replace=False).tolist())
    present = [np.array([0, 1] if index in rare else [0]) for index in range(100)]
    parts = deal((0.8, 0.1, 0.1), np.arange(100), present, num_classes=2, seed=seed)
    assert {int(parts[index]) for index in rare} == {0, 1, 2}
    assert np.bincount(parts).tolist() == [80, 10, 10]


def test_a_class_of_too_few_images_is_trained_on_first():
    present = [np.array([0]) for _ in range(20)]
    present[7] = np.array([0, 1])
    assert all(deal((0.6, 0.2, 0.2), np.arange(20), present, num_classes=2, seed=s)[7] == 0 for s in range(5))


def test_classes_keep_their_proportions():
    rng = np.random.default_rng(0)
    present = [np.flatnonzero(rng.random(10) < np.linspace(0.02, 0.6, 10)) for _ in range(1000)]
    held = np.zeros((3, 10))
    parts = deal((0.8, 0.1, 0.1), np.arange(1000), present, num_classes=10)
    for part, classes in zip(parts, present):
        held[part, classes] += 1
    wanted = np.outer((0.8, 0.1, 0.1), held.sum(0))
    assert np.abs(held - wanted).max() < 6 and (held > 0).all()


@pytest.mark.parametrize(
    ("shares", "message"),
    [
        ((0.8, 0.1, 0.2), r"ratios = \[0.8, 0.1, 0.2\]: the sum is 1.1, not 1; .* 0.727, 0.0909, 0.182"),
        ((0.9, 0.1, 0.0), r"leaves 'test' empty"),
        ((0.8, 0.2), r"give 3 numbers, for train, val, test"),
    ],
)
def test_shares_that_do_not_fit(shares, message):
    with pytest.raises(DataError, match=message):
        check_shares(shares, ("train", "val", "test"), "ratios")


def test_fewer_groups_than_parts():
    with pytest.raises(DataError, match="2 groups for 3 parts"):
        deal((0.6, 0.2, 0.2), np.array([0, 0, 1, 1]))
