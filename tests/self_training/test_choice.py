"""What is chosen to be labelled: k-center against a slow reference, the three rules and boxes by hand."""

import math

import numpy as np
import pytest

from segkit.ops.self_training.choice import UncertainBox, choose, k_center, uncertain_boxes


def slow_k_center(features, covered, count, first):
    """Looks at all pairs for every item."""
    centers = [np.asarray(c, float) for c in covered]
    chosen, distances = [], []
    for _ in range(count):
        best, far = first, math.inf
        if centers:
            best, far = -1, -1.0
            for i, point in enumerate(features):
                nearest = min(math.dist(point, center) for center in centers)
                if i not in chosen and nearest > far + 1e-9:
                    best, far = i, nearest
        chosen.append(best)
        distances.append(far)
        centers.append(features[best])
    return chosen, distances


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("num_covered", [0, 1, 7])
def test_k_center_equals_the_slow_reference(seed, num_covered):
    rng = np.random.default_rng(seed)
    features = rng.integers(0, 6, (25, 3)).astype(np.float32)  # many ties, and some points twice
    covered = rng.integers(0, 6, (num_covered, 3)).astype(np.float32)
    found = k_center(features, covered, 25, first=3)
    chosen, distances = slow_k_center(features, covered, 25, 3)
    assert [item.item for item in found] == chosen and sorted(chosen) == list(range(25))
    assert [item.distance for item in found] == pytest.approx(distances, abs=1e-6)


LINE = np.array([[0.0], [1.0], [10.0], [11.0], [5.0]], np.float32)
UNSURE = np.array([0.9, 0.8, 0.7, 0.1, 0.2])
NOTHING = np.zeros((0, 1), np.float32)


def items(*args, **kwargs) -> list[int]:
    return [chosen.item for chosen in choose(*args, **kwargs)]


def test_uncertain_takes_the_most_uncertain_and_of_equal_ones_the_first():
    assert items(UNSURE, LINE, NOTHING, 2, "uncertain") == [0, 1]
    assert items(np.array([0.5, 0.7, 0.7]), LINE[:3], NOTHING, 2, "uncertain") == [1, 2]
    assert all(math.isnan(chosen.distance) for chosen in choose(UNSURE, LINE, NOTHING, 2, "uncertain"))


def test_diverse_covers_the_others_whatever_their_uncertainty():
    assert items(UNSURE, LINE, NOTHING, 3, "diverse") == [0, 3, 4]  # from the most uncertain on: 0, then 11, then 5
    assert items(UNSURE, LINE, np.array([[11.0]]), 2, "diverse") == [0, 4]  # 11 away, then 5
    assert [c.distance for c in choose(UNSURE, LINE, np.array([[11.0]]), 2, "diverse")] == pytest.approx([11, 5])


def test_both_covers_the_uncertain_ones_alone():
    assert items(UNSURE, LINE, NOTHING, 2, "both", factor=1.5) == [0, 2]  # of 0, 1 and 2, the most uncertain three
    assert items(UNSURE, LINE, NOTHING, 2, "both", factor=1) == [0, 1]
    assert items(UNSURE, LINE, np.array([[1.0]]), 1, "both", factor=3) == [2]
    assert items(UNSURE, LINE, NOTHING, 3, "both", factor=9) == items(UNSURE, LINE, NOTHING, 3, "diverse")


def test_all_are_taken_where_there_are_fewer_and_other_rules_are_named():
    assert sorted(items(UNSURE, LINE, NOTHING, 9, "both")) == [0, 1, 2, 3, 4]
    with pytest.raises(ValueError, match="rule = 'best': must be one of uncertain, diverse, both"):
        choose(UNSURE, LINE, NOTHING, 2, "best")


def slow_boxes(values, side, most):
    height, width = values.shape
    high, wide = min(side, height), min(side, width)
    rows = sorted({*range(0, height - high + 1, max(side // 2, 1)), height - high})
    columns = sorted({*range(0, width - wide + 1, max(side // 2, 1)), width - wide})
    left = [(y, x) for y in rows for x in columns]
    found = []
    while left and len(found) < most:
        y, x = max(left, key=lambda c: (round(values[c[0] : c[0] + high, c[1] : c[1] + wide].mean(), 9), -c[0], -c[1]))
        found.append((x, y, x + wide, y + high))
        left = [(b, a) for b, a in left if abs(b - y) >= high or abs(a - x) >= wide]
    return found


@pytest.mark.parametrize("size", [(40, 50), (31, 17), (8, 40), (5, 6)])
def test_boxes_equal_the_slow_reference(size):
    values = np.random.default_rng(1).random(size).astype(np.float32)
    found = uncertain_boxes(values, 8, 6)
    assert [tuple(box[:4]) for box in found] == slow_boxes(values.astype(np.float64), 8, 6)
    for box in found:
        assert box.uncertainty == pytest.approx(values[box.y0 : box.y1, box.x0 : box.x1].mean(), abs=1e-6)
        assert box.cost == min(8, size[0]) * min(8, size[1])


def test_the_uncertain_corner_is_the_first_box():
    values = np.zeros((20, 30), np.float32)
    values[12:, 22:] = 0.5
    assert uncertain_boxes(values, 8, 1) == [UncertainBox(22, 12, 30, 20, 0.5)]
