"""Rotation and elastic deformation against exact cases and slow samplers; holes."""

import cv2
import numpy as np
import pytest

from segkit.data.transforms.erasing import CutOut, RandomErasing
from segkit.data.transforms.geometry import boxes_of
from segkit.data.transforms.sizes import Pad
from segkit.data.transforms.warps import Elastic, ElasticNoise, RandomAffine, RandomRotate, affine, displace, rotation
from segkit.registry import ConfigError

hypothesis = pytest.importorskip("hypothesis")
assume, given, settings, st = hypothesis.assume, hypothesis.given, hypothesis.settings, hypothesis.strategies


def rng(seed=0):
    return np.random.default_rng(seed)


def make_sample(height=40, width=50):
    image = rng(1).integers(0, 256, (height, width, 3), dtype=np.uint8)
    mask = np.zeros((height, width), np.uint8)
    mask[10:20, 15:30] = 1
    box = np.array([[15, 10, 30, 20]], np.float32)
    return dict(image=image, mask=mask, masks=mask[None].copy(), boxes=box, labels=np.array([4]), meta=dict(id="a"))


@pytest.mark.parametrize("turns, degrees", [(0, 0.0), (1, 90.0), (2, 180.0), (3, -90.0)])
def test_right_angles_are_exact_and_counter_clockwise(turns, degrees):
    sample = make_sample(40, 40)
    sample["clicks"] = np.array([[10, 15, 0], [-1, -1, -1]], np.float32)
    turned = RandomRotate((degrees, degrees), 1.0)(sample, rng())
    np.testing.assert_array_equal(turned["image"], np.rot90(sample["image"], turns))
    np.testing.assert_array_equal(turned["mask"], np.rot90(sample["mask"], turns))
    np.testing.assert_array_equal(turned["boxes"], boxes_of(np.rot90(sample["masks"], turns, (1, 2))))
    places = [(10, 15), (24, 10), (29, 24), (15, 29)]  # row r, column c -> 39 - c, r with each quarter turn
    np.testing.assert_allclose(turned["clicks"], [[*places[turns], 0], [-1, -1, -1]], atol=1e-4)
    bare = affine(dict(image=sample["image"], boxes=sample["boxes"]), rotation((40, 40), degrees))
    np.testing.assert_allclose(bare["boxes"], turned["boxes"], atol=1e-4)  # from corners as from masks


def slow_warp(array, source, outside):
    """Nearest label at source(x, y) of every output pixel centre; also whether it is far enough from a border."""
    out, is_sure = np.full(array.shape, outside, array.dtype), np.ones(array.shape, bool)
    for i, j in np.ndindex(array.shape):
        x, y = source(j + 0.5, i + 0.5)
        if 0 <= x < array.shape[1] and 0 <= y < array.shape[0]:
            out[i, j] = array[int(y), int(x)]
        is_sure[i, j] = min(abs(x - round(x)), abs(y - round(y))) > 0.05
    return out, is_sure


@given(st.floats(-180, 180), st.floats(0.6, 1.6), st.floats(-9, 9), st.floats(-9, 9))
@settings(max_examples=15, deadline=None)
def test_affine_is_the_slow_one(degrees, scale, dx, dy):
    labels = rng(2).integers(0, 200, (12, 17), dtype=np.uint8)
    matrix = rotation((12, 17), degrees, scale=scale, shift=(dx, dy))
    inverse = np.linalg.inv(np.vstack([matrix, [0, 0, 1]]))
    moved = affine(dict(image=labels[..., None].repeat(3, 2), mask=labels), matrix, ignore=255)
    slow, is_sure = slow_warp(labels, lambda x, y: (inverse @ (x, y, 1))[:2], 255)
    assume(is_sure.mean() > 0.5)  # shifts by half a pixel leave only ties
    np.testing.assert_array_equal(moved["mask"][is_sure], slow[is_sure])


def test_rotation_keeps_image_and_mask_together():
    """A ramp tells where each pixel came from; outside there is fill and ignore."""
    rows, columns = np.mgrid[:40, :50]
    image = np.stack([rows, columns, 0 * rows], axis=2).astype(np.float32)
    sample = dict(image=image, mask=(rows * 100 + columns).astype(np.int16))
    moved = RandomRotate((30, 30), 1.0, fill=-500, ignore=-1)(sample, rng())
    is_inside = (moved["image"].min(axis=2) >= 0) & (moved["mask"] >= 0)
    assert 0.5 < is_inside.mean() < 0.95
    place, label = moved["image"][is_inside], moved["mask"][is_inside]
    assert np.abs(place[:, 0] - label // 100).max() < 0.6 and np.abs(place[:, 1] - label % 100).max() < 0.6
    assert moved["image"][0, 0].tolist() == [-500] * 3 and moved["mask"][0, 0] == -1


def test_objects_rotated_out_of_the_image_are_removed():
    sample = make_sample(40, 50)
    corner = np.zeros_like(sample["masks"])
    corner[0, :3, :3] = 1
    sample["masks"] = np.concatenate([sample["masks"], corner])
    sample["boxes"] = boxes_of(sample["masks"])
    sample["labels"] = np.array([4, 5])
    moved = RandomRotate((45, 45), 1.0)(sample, rng())
    assert moved["labels"].tolist() == [4] and len(moved["boxes"]) == len(moved["masks"]) == 1
    np.testing.assert_array_equal(moved["boxes"], boxes_of(moved["masks"]))


def test_padding_does_not_rotate():
    sample = make_sample()
    for transform in (RandomRotate((30, 30), 1.0), Elastic(4.0, p=1.0), RandomAffine(9.0, (0.9, 1.1), 0.1, 1.0)):
        first, last = Pad(64)(transform(sample, rng()), rng()), transform(Pad(64)(sample, rng()), rng())
        np.testing.assert_array_equal(first["image"], last["image"])
        np.testing.assert_array_equal(first["mask"], last["mask"])
        assert first["meta"]["valid"] == last["meta"]["valid"] == (40, 50)


def test_angle_and_shift_are_drawn_in_their_range():
    generator, one = rng(0), dict(image=np.zeros((100, 200, 1), np.uint8), clicks=np.array([[49.5, 149.5, 0]], "f4"))
    points = np.array([RandomRotate(30, 1.0)(one, generator)["clicks"][0, :2] for _ in range(200)]) + 0.5 - (50, 100)
    angles = np.rad2deg(np.arctan2(-points[:, 0], points[:, 1]))
    assert np.abs(angles).max() <= 30.01 and angles.min() < -27 and angles.max() > 27
    moves = [RandomAffine(shift=0.1, p=1.0)(one, generator)["clicks"][0, :2] - (49.5, 149.5) for _ in range(200)]
    assert np.abs(moves).max(axis=0).tolist() == pytest.approx([10, 20], rel=0.05)  # 10 % of 100 rows, 200 columns


def test_displacement_by_hand():
    """A field of (+2, -1): each output pixel shows the one 2 to the right and 1 up, so things move left and down."""
    sample = make_sample()
    sample["clicks"] = np.array([[10, 15, 0]], np.float32)
    field = np.zeros((40, 50, 2), np.float32)
    field[:] = (2, -1)
    moved = displace(sample, field)
    np.testing.assert_array_equal(moved["image"][1:, :-2], sample["image"][:-1, 2:])
    np.testing.assert_array_equal(moved["mask"][1:, :-2], sample["mask"][:-1, 2:])
    assert (moved["mask"][0] == 255).all() and (moved["mask"][:, -2:] == 255).all()
    assert moved["boxes"].tolist() == [[13, 11, 28, 21]]
    np.testing.assert_allclose(moved["clicks"], [[11, 13, 0]], atol=1e-4)


@pytest.mark.parametrize("make", [lambda: Elastic(5.0, p=1.0), lambda: ElasticNoise(100.0, 8.0, p=1.0)])
def test_elastic_moves_points_with_the_image(make):
    """On ramps the image at the moved click shows the click's old place; boxes without masks enclose the moved mask."""
    rows, columns = np.mgrid[:80, :100]
    for seed in range(8):
        sample = make_sample(80, 100)
        sample["image"] = np.stack([rows, columns, rows], axis=2).astype(np.float32)
        sample["clicks"] = np.array([[40, 52, 0]], np.float32)
        moved = make()(sample, rng(seed))
        y, x = moved["clicks"][0, :2]
        shown = cv2.getRectSubPix(moved["image"], (1, 1), (float(x), float(y)))[0, 0]
        np.testing.assert_allclose(shown[:2], [40, 52], atol=0.1)
        bare = {key: sample[key] for key in ("image", "boxes")}
        np.testing.assert_allclose(make()(bare, rng(seed))["boxes"], moved["boxes"], atol=1.5)
        assert (moved["mask"] != sample["mask"]).mean() > 0.005


def test_elastic_grid_is_a_gaussian_of_sigma():
    """A click on the centre of the middle cell moves by minus its vector, whose standard deviation is sigma."""
    generator, one = rng(0), dict(image=np.zeros((90, 90, 1), np.uint8), clicks=np.array([[44.5, 44.5, 0]], "f4"))
    moves = np.array([Elastic(2.0, p=1.0)(one, generator)["clicks"][0, :2] - 44.5 for _ in range(300)])
    assert moves.std() == pytest.approx(2.0, rel=0.12)  # 600 numbers: 4 standard errors are 12 %
    still = Elastic(2.0, alpha=0.0, p=1.0)(make_sample(), rng())
    np.testing.assert_array_equal(still["image"], make_sample()["image"])


def test_cut_out_by_hand():
    sample = dict(image=np.full((10, 12, 3), 50, np.uint8), mask=np.ones((10, 12), np.uint8))
    cut = CutOut((4, 6), p=1.0, fill=(1, 2, 3), ignore=255)(sample, rng(0))
    is_hole = (cut["image"] == (1, 2, 3)).all(axis=2)
    np.testing.assert_array_equal(cut["mask"] == 255, is_hole)
    assert (cut["image"][~is_hole] == 50).all() and (sample["image"] == 50).all() and (sample["mask"] == 1).all()
    areas = [(CutOut((4, 6), p=1.0)(sample, rng(seed))["image"][..., 0] == 0).sum() for seed in range(40)]
    assert max(areas) == 24 and min(areas) < 24  # holes hang over the border
    assert (CutOut((4, 6), p=1.0)(sample, rng(0))["mask"] == 1).all()
    half = CutOut(ratio=(2.0, 2.0), holes=3, p=1.0)(Pad(20, fill=9)(sample, rng()), rng(1))
    assert (half["image"][:10, :12] == 0).any() and (half["image"][10:] == 9).all()  # padding has no holes
    assert CutOut(3, p=0.0)(sample, rng()) is sample
    with pytest.raises(ConfigError, match="either size"):
        CutOut()


def test_random_erasing_holds_area_and_ratio():
    sample = dict(image=np.full((100, 100, 3), 300, np.float32), mask=np.ones((100, 100), np.float32))
    for seed in range(30):
        out = RandomErasing((0.1, 0.2), (0.5, 2.0), p=1.0, ignore=255)(sample, rng(seed))
        is_hole = out["mask"] == -1
        rows, columns = np.flatnonzero(is_hole.any(axis=1)), np.flatnonzero(is_hole.any(axis=0))
        assert is_hole.sum() == len(rows) * len(columns) and 950 <= is_hole.sum() <= 2080
        assert 0.48 <= len(rows) / len(columns) <= 2.1
        assert out["image"][is_hole].max() <= 255 and (out["image"][~is_hole] == 300).all()
    noise = out["image"][is_hole]
    assert noise.mean() == pytest.approx(127.5, abs=8) and noise.std() == pytest.approx(73.9, abs=8)
    assert (RandomErasing(p=1.0, fill=7)(sample, rng())["image"] == 7).any()
