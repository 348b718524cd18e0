"""Photometric transforms against a slow law in real numbers, pixel by pixel, and by hand."""

import colorsys

import cv2
import numpy as np
import pytest

from segkit.data.transforms.color import (
    JPEG,
    Blur,
    BrightnessContrast,
    ChannelShift,
    Gamma,
    Grayscale,
    Photometric,
)
from segkit.data.transforms.color_operations import map_values, turn_colors
from segkit.data.transforms.sizes import Pad
from segkit.registry import ConfigError

hypothesis = pytest.importorskip("hypothesis")
given, settings, st = hypothesis.given, hypothesis.settings, hypothesis.strategies


def rng(seed=0):
    return np.random.default_rng(seed)


COLORS = np.concatenate(
    [
        np.stack(np.meshgrid([0, 1, 127, 254, 255], [0, 64, 255], [0, 200, 255]), axis=-1).reshape(-1, 3),
        rng(7).integers(0, 256, (155, 3)),
    ]
).astype(np.uint8)


def slow_law(image, shift=0.0, first=1.0, saturation=1.0, degrees=0.0, last=1.0):
    """image: [n,3] -> float64 [n,3]: every step in real numbers, cut to its range, nothing rounded."""
    out = []
    for pixel in image.astype(np.float64):
        values = np.clip(np.clip(pixel + shift, 0, 255) * first, 0, 255)
        h, s, v = colorsys.rgb_to_hsv(*(values / 255))
        values = 255 * np.array(colorsys.hsv_to_rgb((h + degrees / 360) % 1, min(s * saturation, 1), v))
        out.append(np.clip(values * last, 0, 255))
    return np.array(out)


@given(st.floats(-32, 32), st.floats(0.5, 1.5), st.floats(0.5, 1.5), st.floats(-36, 36), st.booleans())
@settings(max_examples=60, deadline=None)
def test_photometric_is_the_law_in_real_numbers(shift, contrast, saturation, degrees, is_first):
    """uint8 within one level (half of rounding, and float32), float32 within .01; strips end anywhere."""
    first, last = (contrast, 1.0) if is_first else (1.0, contrast)
    slow = slow_law(COLORS, shift, first, saturation, degrees, last).reshape(100, 2, 3)
    image = COLORS.reshape(100, 2, 3)  # 100 rows: three strips of 32 and a part of one

    def before(values):
        return np.clip(values + shift, 0, 255) * first

    assert np.abs(turn_colors(image, before, saturation, degrees, last) - slow).max() <= 0.51
    exact = turn_colors(image.astype(np.float32), before, saturation, degrees, last)
    assert exact.dtype == np.float32 and np.abs(exact - slow).max() < 0.01


@pytest.mark.parametrize("dtype, most", [(np.uint8, 0.51), (np.float32, 0.01)])
def test_photometric_draws_its_numbers_in_order(dtype, most):
    """The transform's own draws, repeated here, give the slow law's image for every combination of the four steps."""
    image, seen = COLORS.reshape(20, 10, 3), set()
    for seed in range(80):
        generator = rng(seed)
        does, is_first = generator.random(4) < 0.5, generator.random() < 0.5
        seen.add(tuple(does))
        shift = generator.uniform(-32, 32) if does[0] else 0.0
        contrast = generator.uniform(0.5, 1.5) if does[1] else 1.0
        saturation = generator.uniform(0.5, 1.5) if does[2] else 1.0
        degrees = 2 * generator.uniform(-18, 18) if does[3] else 0.0
        first, last = (contrast, 1.0) if is_first else (1.0, contrast)
        slow = slow_law(COLORS, shift, first, saturation, degrees, last).reshape(20, 10, 3)
        changed = Photometric()(dict(image=image.astype(dtype)), rng(seed))["image"]
        assert changed.dtype == dtype and np.abs(changed - slow).max() <= most
    assert len(seen) >= 14


def test_hues_by_hand():
    """Red turned by 36 degrees is 255, 153, 0 (36 / 60 of green); by -36 it is 255, 0, 153."""
    red = np.array([[[255, 0, 0]]], np.uint8)
    assert turn_colors(red, lambda v: v, 1.0, 36.0, 1.0).tolist() == [[[255, 153, 0]]]
    assert turn_colors(red, lambda v: v, 1.0, -36.0, 1.0).tolist() == [[[255, 0, 153]]]
    pale = np.array([[[200, 100, 150]]], np.uint8)
    assert turn_colors(pale, lambda v: v, 1.5, 0.0, 1.0).tolist() == [[[200, 50, 125]]]
    assert turn_colors(pale, lambda v: v, 3.0, 0.0, 1.0).tolist() == [[[200, 0, 100]]]  # saturation 1.5 ends at 1


def test_photometric_without_colors_takes_any_channels():
    image = rng().integers(0, 256, (9, 8, 7), dtype=np.uint8)
    transform = Photometric(saturation=(1, 1), hue=0, p=1.0)
    assert transform(dict(image=image), rng())["image"].shape == (9, 8, 7)
    with pytest.raises(ConfigError, match=r"Photometric needs RGB.*has 7; set saturation"):
        Photometric()(dict(image=image), rng())
    with pytest.raises(ConfigError, match=r"Photometric.contrast"):
        Photometric(contrast=(1.5, 0.5))
    assert Photometric(p=0.0)(dict(image=image[..., :3]), rng())["image"].base is image


@pytest.mark.parametrize("make", [Photometric, Blur, Gamma, BrightnessContrast, ChannelShift, Grayscale, JPEG])
def test_padding_keeps_its_fill(make):
    sample = dict(image=rng().integers(0, 256, (20, 30, 3), dtype=np.uint8), meta=dict(id="a"))
    padded = Pad(40, fill=(10, 20, 30))(sample, rng())
    changed = make(p=1.0)(padded, rng(3))["image"]
    np.testing.assert_array_equal(changed[:20, :30], make(p=1.0)(sample, rng(3))["image"])
    assert (changed[20:] == (10, 20, 30)).all() and (changed[:, 30:] == (10, 20, 30)).all()
    assert (changed[:20, :30] != sample["image"]).any()


def test_tables_round_to_nearest_and_stop_at_the_ends():
    ramp = np.arange(256, dtype=np.uint8).reshape(16, 16, 1)
    np.testing.assert_array_equal(map_values(ramp, lambda v: v * 1.3 + 4), np.clip(np.rint(ramp * 1.3 + 4), 0, 255))
    np.testing.assert_array_equal(map_values(ramp, lambda v: v - 10.0), np.clip(ramp.astype(int) - 10, 0, 255))
    soft = map_values(ramp.astype(np.float32), lambda v: v * 1.3 + 4)
    np.testing.assert_allclose(soft, np.clip(ramp * 1.3 + 4, 0, 255), rtol=1e-6)


def test_brightness_contrast_and_gamma_by_hand():
    sample = dict(image=np.array([[[0, 100, 200, 255]]], np.uint8))
    changed = BrightnessContrast((0.1, 0.1), (0.2, 0.2), 1.0)(sample, rng())
    assert changed["image"].tolist() == [[[26, 146, 255, 255]]]  # 1.2 v + 25.5 = 25.5, 145.5, 265.5: halves to even
    assert Gamma(2.0, 2.0, 1.0)(sample, rng())["image"].tolist() == [[[0, 39, 157, 255]]]  # 39.2, 156.9
    gammas = [Gamma(0.5, 2.0, 1.0)(dict(image=np.full((1, 1, 1), 100, np.float32)), rng(i)) for i in range(300)]
    exponents = [np.log(one["image"][0, 0, 0] / 255) / np.log(100 / 255) for one in gammas]
    assert 0.5 <= min(exponents) < 0.53 and 1.9 < max(exponents) <= 2.0
    assert np.mean(np.log(exponents)) == pytest.approx(0, abs=4 * 0.4 / 17.3)  # log-uniform: symmetric about 1


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("channels", [1, 3, 6])
def test_channel_shift(dtype, channels):
    image = np.full((4, 5, channels), 100, dtype)
    shifts = np.array([ChannelShift(10, 1.0)(dict(image=image), rng(i))["image"][0, 0] for i in range(60)]) - 100.0
    assert shifts.min() == -10 and shifts.max() == 10 and (shifts == np.rint(shifts)).all()
    changed = ChannelShift(10, 1.0)(dict(image=image), rng(0))["image"]
    assert (changed == changed[0, 0]).all()
    for value in (0, 255):
        moved = ChannelShift(10, 1.0)(dict(image=np.full((4, 5, channels), value, dtype)), rng(1))["image"]
        assert moved.min() >= 0 and moved.max() <= 255 and abs(float(moved.mean()) - value) <= 10


def test_grayscale_is_luma():
    sample = dict(image=np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255], [9, 9, 9]]], np.uint8))
    grey = Grayscale(1.0)(sample, rng())["image"]
    assert grey[0, :, 0].tolist() == [76, 150, 29, 9]  # .299, .587, .114 of 255
    assert (grey == grey[..., :1]).all()
    assert Grayscale(0.0)(sample, rng()) is sample


def test_blur_is_a_gaussian():
    image = np.zeros((21, 21, 5), np.float32)
    image[10, 10] = 1
    blurred = Blur(1.5, 1.5, 1.0)(dict(image=image), rng())["image"]
    rows = np.arange(21) - 10
    for channel in range(5):
        assert blurred[..., channel].sum() == pytest.approx(1, abs=1e-5)
        variance = (blurred[..., channel].sum(axis=1) * rows**2).sum()
        assert variance == pytest.approx(1.5**2, rel=0.02)  # the kernel ends at 4 sigma
    assert (Blur(1.5, 1.5, 1.0)(dict(image=np.full((9, 9, 3), 77, np.uint8)), rng())["image"] == 77).all()


def test_jpeg_loses_more_at_lower_quality_and_keeps_the_colors():
    noise = rng().integers(0, 80, (64, 64, 3), dtype=np.uint8)
    image = cv2.GaussianBlur(noise, (0, 0), 3) + np.array([150, 60, 0], np.uint8)  # a swap of red and blue would show
    errors = [
        np.abs(JPEG(q, q, 1.0)(dict(image=image), rng())["image"].astype(int) - image).mean() for q in (10, 60, 95)
    ]
    assert errors[0] > errors[1] > errors[2] and errors[2] < 4
    with pytest.raises(ConfigError, match="uint8"):
        JPEG()(dict(image=image.astype(np.float32)), rng())
    with pytest.raises(ConfigError, match="1 to 100"):
        JPEG(0, 50)
