"""Clicks as maps: against numbers of the published code, a slow loop, and worked by hand."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from segkit.ops.interactive.click_maps import clicks_of_group, disk_maps, distance_maps

FILE = Path(__file__).parents[1] / "fixtures" / "ritm" / "dist_maps.npz"


@pytest.fixture(scope="module")
def published():
    return np.load(FILE)


@pytest.mark.parametrize(("name", "radius", "scale"), [("disk5", 5, 1.0), ("disk3", 3, 1.0), ("disk5_ss05", 5, 0.5)])
def test_disks_equal_the_published_maps(published, name, radius, scale):
    maps = disk_maps(torch.from_numpy(published["points"]), tuple(published["hw"].tolist()), radius, scale=scale)
    assert np.array_equal(maps.numpy(), published[name])


@pytest.mark.parametrize(("name", "radius", "scale"), [("dt260", 260, 1.0), ("dt100_ss05", 100, 0.5)])
def test_distances_equal_the_published_maps(published, name, radius, scale):
    maps = distance_maps(torch.from_numpy(published["points"]), tuple(published["hw"].tolist()), radius, scale=scale)
    assert np.abs(maps.numpy() - published[name]).max() <= 1e-6


@pytest.mark.parametrize("radius", [0.5, 2.5, 7.0, 40.0])
def test_maps_equal_a_loop_over_pixels(radius):
    rng = np.random.default_rng(3)
    clicks = np.full((2, 8, 3), -1, np.float32)
    clicks[:, :3, :2] = rng.uniform(-4, 30, (2, 3, 2))
    clicks[:, 4:6, :2] = rng.integers(-2, 26, (2, 2, 2))
    height, width = 19, 23
    disks = disk_maps(torch.from_numpy(clicks), (height, width), radius)
    distances = distance_maps(torch.from_numpy(clicks), (height, width), radius)
    for b, sign, y, x in np.ndindex(2, 2, height, width):
        rows = [r for r in clicks[b, 4 * sign : 4 * sign + 4] if max(r[:2]) >= 0]
        nearest = min(((y - r[0]) ** 2 + (x - r[1]) ** 2 for r in rows), default=np.float32(1e12))
        assert disks[b, sign, y, x] == float(nearest <= radius**2)
        assert math.isclose(distances[b, sign, y, x], math.tanh(2 * math.sqrt(nearest) / radius), abs_tol=1e-5)


def test_a_disk_of_five_holds_81_pixels_and_an_empty_sign_none():
    clicks = torch.tensor([[[20.0, 20, 0], [-1, -1, -1]]])
    maps = disk_maps(clicks, (41, 41), 5)
    assert maps[0, 0].sum() == 81 and maps[0, 1].sum() == 0
    assert (distance_maps(clicks, (41, 41))[0, 1] == 1).all()


def test_a_click_left_of_the_image_draws_what_reaches_in():
    maps = disk_maps(torch.tensor([[[-3.0, 7, 0], [-1, -1, -1]]]), (16, 16), 5)
    # rows 0, 1 and 2 are 3, 4 and 5 pixels away: half widths 4, 3 and 0
    assert maps[0, 0].sum(1).tolist() == [9, 7, 1] + [0] * 13


def test_groups_take_clicks_by_order():
    clicks = torch.tensor(
        [[[1.0, 1, 0], [2, 2, 1], [3, 3, 9], [-1, -1, -1], [4, 4, 0], [5, 5, 1], [6, 6, 100], [0, 0, -1]]]
    )
    kept = [[int(y) for y in clicks_of_group(clicks, g, 3)[0, :, 0] if y >= 0] for g in range(3)]
    assert kept == [[1], [2, 5], [3, 4, 6]]
