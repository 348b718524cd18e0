"""Samplers that show rare classes more often: shares by hand on made lists, functions of (seed, position) alone."""

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest

from segkit.data.loader import TrainItems
from segkit.data.oversampling import Centroids, ClassBalanced, ClassUniform, RepeatFactor, image_weights, repeat_factors
from segkit.data.samplers import Shuffle
from segkit.data.transforms.focus_crop import FocusCrop, draw_start
from segkit.files import DataError
from segkit.registry import SAMPLERS, ConfigError
from segkit.types import Sample
from tests.data.made import Made, holding

PRESENT = [[0], [0, 1], [0], [0, 2], [0, 1, 2], [0], [0], [0]]
DRAWS = 4000


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SEGKIT_CACHE", str(tmp_path / "cache"))


def shares(sampler, number=DRAWS) -> np.ndarray:
    counts = Counter(sampler.index(position) for position in range(number))
    return np.array([counts[i] / number for i in range(sampler.num_images)])


def test_weights_of_images_by_hand():
    present, frequency = [np.array(classes, int) for classes in ([0], [0, 1], [])], np.array([0.5, 0.1])
    assert image_weights(present, frequency, "mean").tolist() == [2, 6, 0]
    assert image_weights(present, frequency, "max").tolist() == [2, 10, 0]
    # sqrt(.4 / .1) = 2 for the rare class, 1 for the frequent one
    assert repeat_factors(present, frequency, 0.4).tolist() == [1, 2, 1]


@pytest.mark.parametrize("weight", ["mean", "max"])
@pytest.mark.parametrize("frequency", ["pixels", "images"])
def test_class_balanced_draws_in_proportion_to_the_weights(weight, frequency):
    data = holding([*PRESENT, []], 3)
    sampler = ClassBalanced(data, 3, weight, frequency)
    # 8 masks of 16 pixels; class 1 and class 2 have two pixels in two images each
    f = {"pixels": np.array([124, 2, 2]) / 128, "images": np.array([8, 2, 2]) / 9}[frequency]
    reduce = {"mean": np.mean, "max": np.max}[weight]
    expected = np.array([*(reduce(1 / f[np.array(classes)]) for classes in PRESENT), 0])
    expected /= expected.sum()
    assert sampler.probabilities == pytest.approx(expected)
    # five standard deviations of a share of 4000 draws
    assert np.abs(shares(sampler) - expected).max() < 5 * 0.5 / np.sqrt(DRAWS)
    assert shares(sampler)[8] == 0
    share_of_rare = sum(expected[i] for i, classes in enumerate(PRESENT) if 1 in classes)
    assert share_of_rare > 2 / 9
    assert sum(shares(sampler)[i] for i in (1, 4)) == pytest.approx(share_of_rare, abs=5 * 0.5 / np.sqrt(DRAWS))


def test_repeat_factor_repeats_each_image_as_often_as_its_rarest_class_asks():
    data = holding(PRESENT, 3)
    sampler = RepeatFactor(data, 1, threshold=0.5)
    # image frequencies 1, 1/4, 1/4: r = sqrt(2) for images with a rare class
    factors = np.array([1, 2**0.5, 1, 2**0.5, 2**0.5, 1, 1, 1])
    assert sampler.factors == pytest.approx(factors)
    assert shares(sampler) == pytest.approx(factors / factors.sum(), abs=0.01)


def test_epochs_of_repeat_factor_hold_every_image_once_or_twice():
    sampler = RepeatFactor(holding(PRESENT, 3), 1, threshold=0.5)
    sampler.index(400)
    ends = [0, *sampler._ends]
    lengths = set(np.diff(ends).tolist())
    assert lengths <= {8, 9, 10, 11} and len(lengths) > 1
    orders = []
    for first, last in pairwise(ends):
        order = [sampler.index(position) for position in range(first, last)]
        counts = Counter(order)
        assert all(counts[i] == 1 for i in (0, 2, 5, 6, 7)) and all(counts[i] in (1, 2) for i in (1, 3, 4))
        orders.append(tuple(order))
    assert len(set(orders)) == len(orders)


def test_a_threshold_below_every_frequency_is_a_plain_shuffle():
    sampler = RepeatFactor(holding(PRESENT, 3), 0, threshold=0.01)
    for epoch in range(3):
        assert sorted(sampler.index(8 * epoch + i) for i in range(8)) == list(range(8))


def test_centroids_by_hand():
    mask = np.full((4, 6), 255, np.uint8)
    mask[0, 0] = mask[2, 2] = 0  # mean 1, 1 in the first tile of 4
    mask[3, 4:6] = 1  # mean 3, 4.5 in the second one, rounded down
    assert Centroids(3, 255, 4)(mask) == [[0, 1, 1], [1, 3, 4]]
    assert Centroids(3, 255, 2)(mask) == [[0, 0, 0], [0, 2, 2], [1, 3, 4]]


def test_class_uniform_draws_classes_and_then_their_centroids_uniformly():
    sampler = ClassUniform(holding(PRESENT, 4), 5, fraction=1.0, tile=4)
    expected = np.zeros(8)
    for label in range(3):  # the fourth class never occurs
        images = [i for i, classes in enumerate(PRESENT) if label in classes]
        expected[images] += 1 / 3 / len(images)
    assert shares(sampler) == pytest.approx(expected, abs=5 * 0.5 / np.sqrt(DRAWS))


def test_the_share_of_class_uniform_positions_is_exact_and_the_others_are_epochs():
    sampler = ClassUniform(holding(PRESENT, 3), 5, fraction=0.3, tile=4)
    free = [position for position in range(1000) if sampler.focus(position) is None]
    assert len(free) == 700
    assert [sampler.index(position) for position in free] == [
        Shuffle(holding(PRESENT, 3), 5).index(i) for i in range(700)
    ]
    for fraction, number in ((0.0, 0), (1.0, 50)):
        sampler = ClassUniform(holding(PRESENT, 3), 5, fraction=fraction, tile=4)
        assert sum(sampler.focus(position) is not None for position in range(50)) == number


@pytest.mark.parametrize(
    "make",
    [
        lambda data, seed: ClassBalanced(data, seed),
        lambda data, seed: RepeatFactor(data, seed, threshold=0.5),
        lambda data, seed: ClassUniform(data, seed, fraction=0.5, tile=4),
    ],
)
def test_samplers_are_functions_of_seed_and_position(make):
    data = holding(PRESENT, 3)
    positions = range(200)
    forward = [(make_one.index(p), make_one.focus(p)) for make_one in [make(data, 7)] for p in positions]
    # a fresh one asked backwards, as no run would, and one that starts in the middle, as a resumed run does
    other = make(data, 7)
    assert [(other.index(p), other.focus(p)) for p in reversed(positions)] == forward[::-1]
    resumed = make(data, 7)
    assert [(resumed.index(p), resumed.focus(p)) for p in positions[150:]] == forward[150:]
    different = make(data, 8)
    assert [(different.index(p), different.focus(p)) for p in positions] != forward


def test_the_image_drawn_says_nothing_about_its_augmentation():
    """The transforms' first number is drawn from (seed, position) too; it is not the number that chose the image."""
    sampler = ClassBalanced(holding(PRESENT, 3), 7, weight="max")
    image = np.array([sampler.index(p) for p in range(1000)])
    number = np.array([np.random.default_rng([7, p]).random() for p in range(1000)])
    assert abs(np.corrcoef(image, number)[0, 1]) < 0.16  # five standard deviations


def test_wrong_arguments_are_named():
    data = holding(PRESENT, 3)
    for make, told in (
        (lambda: ClassBalanced(data, weight="sum"), "weight = 'sum'"),
        (lambda: ClassBalanced(data, frequency="pixel"), "frequency = 'pixel'"),
        (lambda: RepeatFactor(data, threshold=0), "threshold = 0"),
        (lambda: ClassUniform(data, fraction=2), "fraction = 2"),
        (lambda: ClassUniform(data, tile=0), "tile = 0"),
    ):
        with pytest.raises(ConfigError, match=told):
            make()
    for make in (ClassBalanced, RepeatFactor, ClassUniform):
        with pytest.raises(DataError, match="no mask holds a pixel"):
            make(Made([np.full((2, 2), 255, np.uint8)]))
        assert SAMPLERS.get(make.__name__) is make


def sample(height: int, width: int, focus: tuple[int, int] | None) -> Sample:
    """Its mask is 1 at the focus and 0 elsewhere."""
    mask = np.zeros((height, width), np.uint8)
    meta = dict(id="0", path="0", size=(height, width))
    if focus is not None:
        mask[focus] = 1
        meta["focus"] = focus
    return Sample(image=np.zeros((height, width, 3), np.uint8), mask=mask, meta=meta)


@pytest.mark.parametrize("focus", [(0, 0), (13, 21), (29, 39), (5, 39)])
def test_a_focus_crop_holds_the_focus_wherever_it_lies(focus):
    crop = FocusCrop((11, 9), 1.0, 1.0)
    starts = set()
    for seed in range(60):
        cut = crop(sample(30, 40, focus), np.random.default_rng(seed))
        assert cut["mask"].shape == (11, 9) and cut["mask"].sum() == 1
        starts.add(tuple(cut["window"][:2].tolist()))
    assert len(starts) > 5 or focus in ((0, 0), (29, 39))


def test_starts_are_uniform_over_all_that_hold_the_focus():
    counts = Counter(draw_start(np.random.default_rng(i), 10, 30, 30, 4) for i in range(2000))
    assert sorted(counts) == [7, 8, 9, 10] and min(counts.values()) > 400
    # near the border only those that fit; enlarged twice, a crop of 4 covers two pixels
    assert {draw_start(np.random.default_rng(i), 29, 30, 30, 4) for i in range(50)} == {26}
    assert {draw_start(np.random.default_rng(i), 10, 30, 60, 4) for i in range(50)} == {9, 10}
    # the whole image fits, and a crop narrower than half a pixel begins at the focus
    assert {draw_start(np.random.default_rng(i), 10, 30, 15, 15) for i in range(50)} == {0}
    assert draw_start(np.random.default_rng(0), 10, 30, 3000, 4) == 10


@pytest.mark.parametrize("factor", [0.5, 0.7, 1.4, 2.0])
def test_a_scaled_focus_crop_holds_a_patch_around_the_focus(factor):
    for seed in range(40):
        rng = np.random.default_rng(seed)
        focus = int(rng.integers(2, 58)), int(rng.integers(2, 78))
        given = sample(60, 80, focus)
        given["mask"][focus[0] - 1 : focus[0] + 2, focus[1] - 1 : focus[1] + 2] = 1
        cut = FocusCrop((16, 24), factor, factor)(given, rng)
        assert cut["image"].shape == (16, 24, 3) and cut["mask"].any()


def test_a_small_image_is_padded_and_a_sample_without_focus_cropped_anywhere():
    cut = FocusCrop((50, 50), 1.0, 1.0)(sample(30, 40, (3, 4)), np.random.default_rng(0))
    assert cut["mask"].shape == (50, 50) and cut["mask"][3, 4] == 1 and cut["mask"][40, 10] == 255
    starts = {
        tuple(FocusCrop(8, 1.0, 1.0)(sample(30, 40, None), np.random.default_rng(seed))["window"][:2].tolist())
        for seed in range(200)
    }
    assert max(y for y, _ in starts) > 18 and max(x for _, x in starts) > 26


def test_a_focus_crop_that_is_not_the_first_transform_says_so():
    cut = FocusCrop(8, 1.0, 1.0)(sample(30, 40, (3, 4)), np.random.default_rng(0))
    with pytest.raises(DataError, match="let FocusCrop be the first"):
        FocusCrop(8)(cut, np.random.default_rng(0))


def test_class_uniform_and_focus_crop_bring_the_rare_class_into_every_crop():
    masks = [np.zeros((60, 80), np.uint8) for _ in range(4)]
    masks[2][41:44, 60:63] = 1
    data = Made(masks, 2)
    sampler = ClassUniform(data, 0, fraction=1.0, tile=16)
    items = TrainItems(data, [FocusCrop(16, 1.0, 1.0)], 0, sampler)
    hits = [bool((items[(p, sampler.index(p))]["mask"] == 1).any()) for p in range(100)]
    # half of the draws are of class 1; nearly every other crop misses its 3 by 3 pixels
    assert 0.35 < np.mean(hits) < 0.65
    assert "focus" not in TrainItems(data, [], 0)[(0, 0)]["meta"]
