"""The first clicks of a training sample: regions and laws, against published outputs and by hand."""

from pathlib import Path

import numpy as np
import pytest

from segkit.data.interactive.choice import choose
from segkit.data.interactive.regions import border_ring, central, count_law, draw_by_depth, draw_number, eroded
from segkit.data.interactive.sampling import SampleClicks
from segkit.registry import ConfigError
from tests.interactive.made import box, make_sample

FIXTURE = Path(__file__).parents[1] / "fixtures/ritm/points_sampler.npz"
SIZE = (40, 50)


@pytest.fixture(scope="module")
def published():
    with np.load(FIXTURE) as arrays:
        return {name: arrays[name] for name in arrays.files}


def published_sample(published):
    """Two objects in the first layer, a part of the first in the second."""
    encoded = published["enc"]
    objects = {0: (0, 1, None, (1,)), 1: (1, 1, 0), 2: (0, 2)}
    return make_sample(list(np.moveaxis(encoded, 2, 0)), objects)


def split(clicks):
    """-> the clicks that are there, int [n,3]: positive, negative."""
    half = len(clicks) // 2
    return [part[part[:, :2].max(axis=1) >= 0].astype(int) for part in (clicks[:half], clicks[half:])]


def test_counts_and_regions_are_the_published_ones(published):
    np.testing.assert_allclose(count_law(24, 0.8), published["pos_probs"], rtol=1e-12)
    np.testing.assert_allclose(count_law(25, 0.8), published["neg_probs"], rtol=1e-12)
    first = published["enc"][..., 0] == 1
    np.testing.assert_array_equal(eroded(first, 3), published["eroded_pos"].astype(bool))
    np.testing.assert_array_equal(np.argwhere(central(first, 1.7)), published["candidates_k1.7"])


@pytest.mark.parametrize("tag", ["paper", "hier"])
@pytest.mark.parametrize("seed", range(4))
def test_negative_regions_are_the_published_ones(published, tag, seed):
    """The published target, reached by choosing the same objects, has the published ring and others."""
    sample, target = published_sample(published), published[f"{tag}_seed{seed}_mask"][0] == 1
    numbers = [n for n in (0, 2) if (target & (published["enc"][..., 0] == (1, 0, 2)[n])).any()]
    choice = choose(sample, numbers)
    if tag == "paper":
        np.testing.assert_array_equal(choice.target == 1, target)
    choice = choice._replace(target=target.astype(np.int8))
    _, others, ring = SampleClicks().negative_regions(sample, choice)
    np.testing.assert_array_equal(ring.make(), published[f"{tag}_seed{seed}_border"] == 1)
    np.testing.assert_array_equal(others.make(), published[f"{tag}_seed{seed}_other"] == 1)


def test_statistics_agree_with_the_published_draws(published):
    """Numbers of clicks and their regions over many draws, by the two-sample chi-square test at p = .001."""
    sample, transform, rng = published_sample(published), SampleClicks(), np.random.default_rng(3)
    num_draws = 1500
    counts, places, is_large = np.zeros((2, 25)), np.zeros(3), 0
    for _ in range(num_draws):
        drawn = transform(sample, rng)
        positive, negative = split(drawn["clicks"])
        counts[0, len(positive)] += 1
        counts[1, len(negative)] += 1
        target = drawn["mask"] > 0
        assert target[positive[:, 0], positive[:, 1]].all() and not target[negative[:, 0], negative[:, 1]].any()
        is_large += target.sum() > 1800
        y, x = negative[:, 0], negative[:, 1]
        others = published["enc"].any(axis=2) & ~target if target.sum() < 5000 else np.zeros_like(target)
        places += len(y), border_ring(target, 0.1)[y, x].sum(), others[y, x].sum()
    for ours, theirs in zip(counts, (published["stat_pos_count_hist"], published["stat_neg_count_hist"])):
        merged = [np.add.reduceat(hist.astype(float), [0, 2, 3, 4, 5, 7, 10, 14]) for hist in (ours, theirs)]
        scale = np.sqrt(merged[1].sum() / merged[0].sum())
        chi_square = ((scale * merged[0] - merged[1] / scale) ** 2 / (merged[0] + merged[1])).sum()
        assert chi_square < 24.3  # 7 degrees of freedom
    total, ring, other = published["stat_neg_total_border_other"]
    assert places[0] / num_draws == pytest.approx(total / 4000, rel=0.1)
    assert places[1:] / places[0] == pytest.approx([ring / total, other / total], abs=0.035)
    assert is_large / num_draws == pytest.approx(0.575, abs=4 * np.sqrt(0.575 * 0.425 / num_draws))


def test_a_ring_counts_its_steps():
    """An area of 30 * 30 makes ceil(.1 * 30) = 3 steps of a square; .31 * 30 makes 10."""
    mask = np.zeros((80, 90), bool)
    mask[20:50, 30:60] = True
    wanted = np.zeros_like(mask)
    wanted[17:53, 27:63] = True
    np.testing.assert_array_equal(border_ring(mask, 0.1), wanted & ~mask)
    wanted[10:60, 20:70] = True
    np.testing.assert_array_equal(border_ring(mask, 0.31), wanted & ~mask)
    assert not border_ring(mask, 0.0).any() and not border_ring(np.zeros_like(mask), 0.1).any()


def test_erosion_gives_up_on_small_objects():
    mask = np.zeros((30, 30), bool)
    mask[10:17, 10:17] = True
    assert eroded(mask, 1).sum() == 25 and eroded(mask, 2).sum() == 49
    mask[10:, 10:] = True
    assert eroded(mask, 2).sum() == 18 * 18  # the image's border erodes nothing


def test_draws_follow_their_laws():
    rng = np.random.default_rng(0)
    drawn = np.bincount([draw_number(np.array([0.5, 0.2, 0.3]), rng) for _ in range(3000)], minlength=3)
    assert drawn / 3000 == pytest.approx([0.5, 0.2, 0.3], abs=0.04)
    line = np.ones((3, 5), bool)  # depths 1 around, 2 in the three pixels of the middle
    places = np.array([draw_by_depth(line, rng) for _ in range(3000)])
    middle = (places[:, 0] == 1) & (places[:, 1] > 0) & (places[:, 1] < 4)
    assert middle.mean() == pytest.approx(6 / 18, abs=0.04)
    assert draw_by_depth(np.zeros((2, 2), bool), rng) is None


def family():
    """Object 1 of 600 pixels with a part of 100 and one of 20 (below a tenth), object 4 apart."""
    layers = [
        box(SIZE, 2, 2, 22, 32) + box(SIZE, 30, 5, 38, 20, 2),
        box(SIZE, 4, 4, 14, 14) + box(SIZE, 15, 20, 17, 30, 2),
    ]
    objects = {1: (0, 1, None, (2, 3)), 2: (1, 1, 1), 3: (1, 2, 1), 4: (0, 2)}
    return make_sample(layers, objects)


def test_hierarchy_chooses_parts_and_takes_parts_out():
    """Each outcome is one of those the law allows, and all of them occur."""
    sample, transform, rng = family(), SampleClicks(use_hierarchy=True, merge=0), np.random.default_rng(0)
    labels = [sample["layers"][..., one.layer] == one.value for one in sample["objects"].values()]
    whole, part, small, apart = labels
    wanted = {
        "whole": whole,
        "without part": whole & ~part,
        "without small": whole & ~small,
        "without both": whole & ~part & ~small,
        "part": part,
        "small": small,
        "apart": apart,
    }
    seen = dict.fromkeys(wanted, 0)
    for _ in range(600):
        drawn = transform(sample, rng)
        positive, negative = split(drawn["clicks"])
        (name,) = (name for name, mask in wanted.items() if np.array_equal(mask, drawn["mask"] > 0))
        seen[name] += 1
        assert wanted[name][positive[:, 0], positive[:, 1]].all() and len(positive)
        if name not in ("part", "small"):
            assert not small[positive[:, 0], positive[:, 1]].any()  # below a tenth: no positive click
        for gone in ("part", "small"):
            if name in (f"without {gone}", "without both"):
                assert wanted[gone][negative[:, 0], negative[:, 1]].any()  # a required click
        if name in ("part", "small"):
            assert (whole & ~wanted[name])[negative[:, 0], negative[:, 1]].any()
    # half are of the family, half of those go down to either part; of the rest 1/3 keeps all parts, 1/3 both off
    shares = {
        "whole": 1 / 12,
        "without part": 1 / 24,
        "without small": 1 / 24,
        "without both": 1 / 12,
        "part": 1 / 8,
        "small": 1 / 8,
        "apart": 1 / 2,
    }
    assert sum((seen[name] - 600 * share) ** 2 / (600 * share) for name, share in shares.items()) < 22.5


def test_first_clicks_lie_in_the_centre():
    sample = family()
    transform = SampleClicks(merge=1.0, first_click_center=True, erode=0.0)
    rng = np.random.default_rng(1)
    whole, apart = (sample["layers"][..., 0] == value for value in (1, 2))
    for _ in range(20):
        positive, negative = split(transform(sample, rng)["clicks"])
        assert (positive[:2, 2] == 0).all() and (positive[2:, 2] == 100).all() and (negative[:, 2] == 100).all()
        hits = [central(mask, 1.7)[positive[:2, 0], positive[:2, 1]] for mask in (whole, apart)]
        assert (hits[0] ^ hits[1]).all() and hits[0].sum() == 1


@pytest.mark.parametrize("options", [dict(inner_k=0.0), dict(full_inner=1.0)])
def test_first_clicks_may_lie_anywhere(options):
    """Pixels at the object's border, never central ones, are drawn too."""
    sample = make_sample([box(SIZE, 5, 5, 25, 25)], {1: (0, 1)})
    transform, rng = SampleClicks(first_click_center=True, erode=0.0, **options), np.random.default_rng(0)
    firsts = np.array([split(transform(sample, rng)["clicks"])[0][0] for _ in range(100)])
    assert (firsts[:, 2] == 0).all()
    inner = central(sample["layers"][..., 0] == 1, 1.7)
    assert 0 < inner[firsts[:, 0], firsts[:, 1]].sum() < 100


def test_only_one_object_gets_a_first_click():
    """With the law of counts at its narrowest no others follow: then one click stands for the union."""
    sample = family()
    one = SampleClicks(merge=1.0, only_one_first_click=True, gamma=1e-9)
    both = SampleClicks(merge=1.0, gamma=1e-9)
    rng = np.random.default_rng(0)
    assert {len(split(one(sample, rng)["clicks"])[0]) for _ in range(20)} == {1}
    assert {len(split(both(sample, rng)["clicks"])[0]) for _ in range(20)} == {2}


def test_clicks_are_cut_to_their_number():
    sample, rng = family(), np.random.default_rng(0)
    transform = SampleClicks(max_points=3, gamma=1e6, merge=1.0, negatives=(1, 0, 0))  # always the largest numbers
    drawn = transform(sample, rng)
    assert drawn["clicks"].shape == (6, 3) and drawn["clicks"].dtype == np.float32
    assert [len(part) for part in split(drawn["clicks"])] == [3, 3]


def test_ignored_pixels_stay_ignored_and_are_never_positive():
    """The right half of the object is ignored."""
    sample = make_sample([box(SIZE, 10, 10, 30, 40), box(SIZE, 0, 25, 40, 50, 7)], {1: (0, 1)}, [(1, 7)])
    transform, rng = SampleClicks(erode=0.0), np.random.default_rng(0)
    for _ in range(30):
        drawn = transform(sample, rng)
        assert drawn["mask"].dtype == np.float32 and set(np.unique(drawn["mask"])) == {-1, 0, 1}
        np.testing.assert_array_equal(drawn["mask"] == -1, sample["layers"][..., 1] == 7)
        positive, _ = split(drawn["clicks"])
        assert len(positive) and (positive[:, 1] < 25).all()
    assert not {"layers", "objects", "ignored"} & set(drawn)


def test_without_objects_clicks_are_negative_and_in_the_background():
    """An object that left the image, and pixels of no object: neither gives a positive click."""
    sample = make_sample([box(SIZE, 0, 0, 20, 50, 3)], {1: (0, 1)})
    transform, rng = SampleClicks(gamma=1.0), np.random.default_rng(0)
    for _ in range(10):
        drawn = transform(sample, rng)
        positive, negative = split(drawn["clicks"])
        assert not len(positive) and not drawn["mask"].any() and (negative[:, 0] >= 20).all()


def test_an_image_of_ignored_pixels_gives_no_click():
    sample = make_sample([np.full(SIZE, 9)], {}, [(0, 9)])
    drawn = SampleClicks(gamma=1.0)(sample, np.random.default_rng(0))
    assert (drawn["mask"] == -1).all() and (drawn["clicks"] == -1).all()


def test_an_object_of_one_pixel_is_clicked():
    sample = make_sample([box(SIZE, 39, 49, 40, 50)], {1: (0, 1)})
    drawn = SampleClicks(gamma=1e-9, first_click_center=True)(sample, np.random.default_rng(0))
    assert drawn["mask"].sum() == 1 and split(drawn["clicks"])[0].tolist() == [[39, 49, 0]]


def test_an_object_that_fills_the_image_has_no_negative_click():
    sample = make_sample([np.ones(SIZE)], {1: (0, 1)})
    positive, negative = split(SampleClicks(gamma=1.0)(sample, np.random.default_rng(0))["clicks"])
    assert len(positive) and not len(negative)


@pytest.mark.parametrize(
    "options", [dict(negatives=(0.5, 0.6, 0.1)), dict(max_points=0), dict(gamma=0.0), dict(max_merged=1)]
)
def test_settings_that_mean_nothing_are_refused(options):
    with pytest.raises(ConfigError):
        SampleClicks(**options)


def test_any_number_of_objects_can_be_merged():
    """-1: two to all three, each number equally likely."""
    layers = [box(SIZE, 0, 0, 10, 10) + box(SIZE, 20, 0, 30, 10, 2) + box(SIZE, 20, 20, 30, 30, 3)]
    sample = make_sample(layers, {n: (0, n) for n in (1, 2, 3)})
    transform, rng = SampleClicks(merge=1.0, max_merged=-1), np.random.default_rng(0)
    areas = [int(transform(sample, rng)["mask"].sum()) for _ in range(60)]
    assert set(areas) == {200, 300} and 15 < areas.count(200) < 45
