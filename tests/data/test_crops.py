"""Crops: places, windows, padding, the class-balance rule and the fused scale and crop."""

import math

import numpy as np
import pytest

from segkit.data.transforms.crops import CenterCrop, RandomCrop, RandomResizedCrop, RandomScaleCrop, is_mixed
from segkit.data.transforms.operations import crop, pad, resize, resized_crop
from segkit.data.transforms.sizes import RandomScale
from segkit.files import DataError

hypothesis = pytest.importorskip("hypothesis")
given, settings, st = hypothesis.given, hypothesis.settings, hypothesis.strategies


def rng(seed=0):
    return np.random.default_rng(seed)


def numbered(height, width):
    """An image whose channels 0 and 1 are row and column, its mask their sum; one box over all of it."""
    rows, columns = np.mgrid[:height, :width]
    image = np.stack([rows, columns, 0 * rows], axis=2).astype(np.uint8)
    box = np.array([[0, 0, width, height]], np.float32)
    return dict(image=image, mask=(rows + columns).astype(np.int16), boxes=box, meta=dict(path="n.png"))


@given(st.integers(0, 10**6))
@settings(max_examples=40, deadline=None)
def test_crop_keeps_image_and_mask_together(seed):
    cut = RandomCrop((7, 9))(numbered(20, 30), rng(seed))
    assert cut["image"].shape == (7, 9, 3)
    np.testing.assert_array_equal(cut["image"][..., 0].astype(int) + cut["image"][..., 1], cut["mask"])
    y, x = cut["image"][0, 0, :2].tolist()
    assert cut["window"].tolist() == [y, x, y + 7, x + 9]
    assert cut["boxes"].tolist() == [[0, 0, 9, 7]]


def test_every_place_is_drawn_equally_often():
    generator = rng(0)
    places = [RandomCrop((3, 4))(numbered(5, 4), generator)["window"][0] for _ in range(600)]
    assert np.bincount(places).tolist() == pytest.approx([200] * 3, abs=4 * 11.6)  # sqrt(600 * 1/3 * 2/3)


def test_windows_of_nested_crops_and_resizes_add_up():
    sample = numbered(40, 60)
    first = crop(sample, 10, 20, (20, 30))
    second = crop(first, 2, 3, (10, 10))
    assert second["window"].tolist() == [12, 23, 22, 33]
    assert resize(second, (20, 5))["window"].tolist() == [24, 12, 44, 16]  # x: 11.5 and 16.5, rounded to even


def test_a_scaled_crop_after_a_crop_stays_in_the_window_of_the_first():
    """By hand: 20 x 30 at (10, 20) of 40 x 60, doubled; a crop at (2, 3) of it begins at 2 * (12, 23)."""
    first = crop(numbered(40, 60), 10, 20, (20, 30))
    second = resized_crop(first, (40, 60), (2, 3), (8, 10))
    assert second["window"].tolist() == [24, 46, 32, 56] and second["meta"]["whole"] == (80, 120)
    alone = resized_crop(numbered(20, 30), (40, 60), (2, 3), (8, 10))
    assert alone["window"].tolist() == [4, 6, 12, 16] and alone["meta"]["whole"] == (40, 60)


def test_small_images_are_padded_or_refused():
    sample = numbered(4, 20)
    cut = RandomCrop((6, 10), fill=(9, 8, 7), ignore=200)(sample, rng(3))
    assert cut["image"].shape == (6, 10, 3) and cut["meta"]["valid"] == (4, 10)
    assert cut["image"][4, 0].tolist() == [9, 8, 7] and (cut["mask"][4:] == 200).all()
    x = cut["window"][1]
    assert cut["window"].tolist() == [0, x, 4, x + 10]  # the padding is no part of the image
    for transform in (RandomCrop((6, 10), pad=False), CenterCrop((6, 10), pad=False)):
        with pytest.raises(DataError, match=r"n.png: 20x4 pixels are too few for a \w+ of 10x6.*pad=True"):
            transform(sample, rng())
        assert transform(numbered(6, 10), rng())["image"].shape == (6, 10, 3)


def test_center_crop():
    assert CenterCrop((3, 4))(numbered(6, 10), rng())["window"].tolist() == [1, 3, 4, 7]
    small = CenterCrop((3, 4))(numbered(2, 10), rng())
    assert small["window"].tolist() == [0, 3, 2, 7] and small["meta"]["valid"] == (2, 4)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16])
def test_balance_of_a_crop_by_hand(dtype):
    mask = np.array([[0, 0, 0, 1], [255, 255, 255, 255]], dtype)
    assert is_mixed(mask, 0.76, 255) and not is_mixed(mask, 0.75, 255)  # 3 of the 4 labelled pixels
    assert is_mixed(mask, 0.6, 254)  # 255 counts as a class: 4 of 8
    assert not is_mixed(np.zeros((2, 2), dtype), 0.99, 255) and not is_mixed(np.full((2, 2), 255, dtype), 0.99, 255)


@pytest.mark.parametrize("make", [RandomCrop, lambda size, **own: RandomScaleCrop(size, 1.0, 1.0, **own)])
def test_crops_of_one_class_are_drawn_again(make):
    """1 place in 10 shows both classes: ten tries find it in 1 - .9^10 = 65 % of the crops, one in 10 %."""
    mask = np.zeros((4, 13), np.uint8)
    mask[:, 12:] = 1
    sample = dict(image=np.zeros((4, 13, 3), np.uint8), mask=mask)
    generator = rng(1)
    found = [make((4, 4), cat_max_ratio=0.8)(sample, generator)["mask"].any() for _ in range(300)]
    assert np.mean(found) == pytest.approx(1 - 0.9**10, abs=4 * 0.0275)
    plain = [make((4, 4))(sample, generator)["mask"].any() for _ in range(300)]
    assert np.mean(plain) == pytest.approx(0.1, abs=4 * 0.0173)


def noise(height, width):
    """Random images, labels and one object, so that any shift shows."""
    generator = rng(5)
    mask = generator.integers(0, 5, (height, width), dtype=np.uint8)
    masks = np.zeros((1, height, width), np.uint8)
    masks[0, 3 : height - 2, 4 : width - 1] = 1
    boxes = np.array([[4, 3, width - 1, height - 2]], np.float32)
    image = generator.integers(0, 256, (height, width, 3), dtype=np.uint8)
    clicks = np.array([[4, 5, 0], [-1, -1, -1]], np.float32)
    return dict(image=image, mask=mask, masks=masks, boxes=boxes, clicks=clicks, layers=mask[..., None])


@pytest.mark.parametrize(
    "scaled, origin, size",
    [
        ((60, 80), (5, 7), (20, 30)),  # twice as large
        ((60, 80), (0, 0), (60, 80)),
        ((15, 20), (4, 6), (10, 15)),  # half: even origins
        ((45, 60), (6, 8), (20, 21)),  # 3 / 2: even origins
        ((37, 51), (0, 0), (30, 40)),  # any factor from the corner
        ((23, 29), (0, 0), (23, 20)),
        ((30, 40), (3, 9), (20, 20)),
    ],
)
def test_fused_crop_equals_resize_then_crop(scaled, origin, size):
    """Where the origin falls on a whole pixel of the resized image: all keys, but the first rows if enlarged."""
    sample = noise(30, 40)
    y, x = (o * new // old for o, new, old in zip(origin, scaled, (30, 40)))
    slow, fast = crop(resize(sample, scaled), y, x, size), resized_crop(sample, scaled, origin, size)
    for key in ("mask", "masks", "layers", "window"):
        np.testing.assert_array_equal(fast[key], slow[key])
    np.testing.assert_allclose(fast["boxes"], slow["boxes"], atol=1e-4)
    np.testing.assert_allclose(fast["clicks"], slow["clicks"], atol=1e-4)
    top, left = (math.ceil(new / old / 2) if o and new > old else 0 for o, new, old in zip(origin, scaled, (30, 40)))
    np.testing.assert_array_equal(fast["image"][top:, left:], slow["image"][top:, left:])


@given(st.integers(0, 10**6))
@settings(max_examples=60, deadline=None)
def test_fused_crop_has_one_geometry(seed):
    """On ramps the image tells the place of each pixel: labels and boxes agree with it, and its size is right."""
    generator = rng(seed)
    height, width = (int(n) for n in generator.integers(8, 60, 2))
    rows, columns = np.mgrid[:height, :width]
    image = np.stack([rows, columns, rows], axis=2).astype(np.float32)
    sample = dict(image=image, mask=(rows * 100 + columns).astype(np.int16))
    size = (24, 33)
    cut = RandomScaleCrop(size, 0.5, 2.0, ignore=-7)(sample, generator)
    assert cut["image"].shape[:2] == cut["mask"].shape == size
    h, w = cut["meta"]["valid"]
    label, place = cut["mask"][:h, :w], cut["image"][:h, :w]
    assert (cut["mask"][h:] == -7).all() and (cut["mask"][:, w:] == -7).all() and (label >= 0).all()
    assert np.abs(place[..., 0] - label // 100).max() <= 0.51 and np.abs(place[..., 1] - label % 100).max() <= 0.51
    assert cut["window"].tolist()[2:] == [cut["window"][0] + h, cut["window"][1] + w]


def test_fused_crop_draws_as_the_two_transforms_do():
    """With one seed factor and place are the same; the fused window begins less than a source pixel before."""
    sample = noise(30, 40)
    for seed in range(30):
        one, two = rng(seed), rng(seed)
        slow = RandomCrop((25, 25))(RandomScale(0.5, 2.0)(sample, two), two)
        fast = RandomScaleCrop((25, 25))(sample, one)
        assert fast["meta"]["valid"] == slow["meta"]["valid"]
        shift = slow["window"] - fast["window"]
        assert (shift >= 0).all() and (shift <= 2).all()
        assert one.random() == two.random()


def test_fused_crop_of_a_padded_image_leaves_the_padding_out():
    sample = noise(30, 40)
    bare, padded = RandomScaleCrop(25)(sample, rng(2)), RandomScaleCrop(25)(pad(sample, (50, 50)), rng(2))
    for key in ("image", "mask", "window"):
        np.testing.assert_array_equal(bare[key], padded[key])


def test_resized_crop_holds_area_and_ratio():
    sample, generator = numbered(100, 150), rng(4)
    transform = RandomResizedCrop((8, 8), area=(0.2, 0.5), ratio=(0.5, 2.0))
    for _ in range(60):
        y, x, (h, w) = transform._draw((100, 150), generator)
        assert 0 <= y <= 100 - h and 0 <= x <= 150 - w
        assert 0.2 * 15000 * 0.97 <= h * w <= 0.5 * 15000 * 1.03 and 0.48 <= w / h <= 2.08
    assert transform(sample, generator)["image"].shape == (8, 8, 3)
    # shares above 1 never fit: the whole image, cut to the ratio: 100 x 133 of 100 x 150, 8 columns off at the left
    assert RandomResizedCrop(8, area=(1.5, 2.0))._draw((100, 150), generator) == (0, 8, (100, 133))
    assert RandomResizedCrop(8, area=(1.5, 2.0))._draw((100, 120), generator) == (0, 0, (100, 120))
    assert RandomResizedCrop(8, area=(1.5, 2.0))._draw((160, 60), generator) == (40, 0, (80, 60))
