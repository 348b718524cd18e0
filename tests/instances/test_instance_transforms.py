"""Transforms and the sampler of instance data: box masks, large-scale jitter, groups of one aspect."""

import numpy as np
import pytest

from segkit.data.dataset import Dataset
from segkit.data.samplers import AspectGrouped, batches
from segkit.data.transforms.boxes import BoxesOfMasks, BoxMasks, UntilBox
from segkit.data.transforms.crops import RandomCrop
from segkit.data.transforms.sizes import RandomResize
from segkit.registry import ConfigError


def rng(seed=0):
    return np.random.default_rng(seed)


def test_box_masks_are_rounded_half_to_even_with_both_ends():
    sample = dict(
        image=np.zeros((20, 20, 3), np.uint8),
        boxes=np.array([[1.5, 2.5, 6.5, 7.4], [15, 16, 20, 20]]),
        labels=np.array([0, 1]),
        meta={},
    )
    masks = BoxMasks()(sample, rng())["masks"]
    wanted = np.zeros((2, 20, 20), np.uint8)
    wanted[0, 2:8, 2:7] = 1
    wanted[1, 16:, 15:] = 1
    np.testing.assert_array_equal(masks, wanted)
    again = BoxesOfMasks()(BoxMasks()(sample, rng()), rng())
    np.testing.assert_array_equal(again["boxes"], [[2, 2, 7, 8], [15, 16, 20, 20]])
    assert BoxMasks()(dict(image=sample["image"]), rng()).keys() == {"image"}
    outlines = np.eye(20, dtype=np.uint8)[None].repeat(2, 0)
    assert BoxMasks()({**sample, "masks": outlines}, rng())["masks"] is outlines


def test_boxes_of_masks_drop_what_is_gone():
    masks = np.zeros((3, 9, 9), np.uint8)
    masks[0, 2:4, 5:8], masks[2, 8, 8] = 1, 1
    sample = dict(
        image=np.zeros((9, 9, 3), np.uint8),
        masks=masks,
        boxes=np.zeros((3, 4), np.float32),
        labels=np.array([4, 5, 6]),
        crowd=np.array([False, True, False]),
    )
    left = BoxesOfMasks()(sample, rng())
    np.testing.assert_array_equal(left["boxes"], [[5, 2, 8, 4], [8, 8, 9, 9]])
    assert left["labels"].tolist() == [4, 6] and left["masks"].shape == (2, 9, 9) and not left["crowd"].any()
    assert BoxesOfMasks(min_size=1)(sample, rng())["labels"].tolist() == [4]


JITTER = [RandomResize((64, 64), (0.1, 2.0)), RandomCrop((64, 64), fill=128), BoxesOfMasks()]


def test_large_scale_jitter_keeps_a_box_where_one_can_be_kept():
    image = np.zeros((40, 60, 3), np.uint8)
    sample = dict(image=image, boxes=np.array([[0, 0, 5, 5]], np.float32), labels=np.array([0]), meta={})
    sample = BoxMasks()(sample, rng())
    lost = 0
    for seed in range(60):
        once = sample
        generator = rng(seed)
        for transform in JITTER:
            once = transform(once, generator)
        lost += not len(once["boxes"])
        kept = UntilBox(JITTER)(sample, rng(seed))
        assert kept["image"].shape == (64, 64, 3) and len(kept["boxes"]) == len(kept["masks"]) == 1
        assert (kept["boxes"] <= 64).all() and kept["masks"].shape == (1, 64, 64)
        height, width = kept["meta"]["valid"]
        assert not kept["masks"][:, height:].any() and (kept["image"][height:] == 128).all() and width <= 64
        if len(once["boxes"]):
            np.testing.assert_array_equal(once["image"], kept["image"])
    assert lost > 5
    none = dict(image=image, boxes=np.zeros((0, 4), np.float32), labels=np.zeros(0, np.int64), meta={})
    assert UntilBox(JITTER)(none, rng())["boxes"].shape == (0, 4)
    with pytest.raises(ConfigError, match=r"UntilBox\.tries"):
        UntilBox(JITTER, tries=0)


class Sized(Dataset):
    """A data set that only tells sizes."""

    def __init__(self, sizes):
        self.sizes = np.array(sizes)
        self.ids = [str(index) for index in range(len(sizes))]


class Unsized(Dataset):
    """A data set that does not even tell sizes."""

    ids = ("0", "1")


def test_aspect_groups():
    sizes = [(30, 40)] * 7 + [(40, 30)] * 4 + [(30, 30)]
    sampler = AspectGrouped(Sized(sizes), 5, batch=3)
    epochs = [[sampler.index(position) for position in range(15 * e, 15 * e + 15)] for e in range(2)]
    for epoch in epochs:
        kinds = [{index < 7 for index in epoch[i : i + 3]} for i in range(0, 15, 3)]
        assert all(len(kind) == 1 for kind in kinds) and sum(kind == {True} for kind in kinds) == 3
        assert set(epoch) == set(range(12)) and max(map(epoch.count, epoch)) <= 2
    assert epochs[0] != epochs[1]
    fresh = AspectGrouped(Sized(sizes), 5, batch=3)
    assert [fresh.index(position) for position in (20, 3, 14)] == [epochs[1][5], epochs[0][3], epochs[0][14]]
    for rank in range(3):  # one image per process
        number, index = next(batches(fresh, 1, start=4, rank=rank, world_size=3))[0]
        assert index == epochs[0][number] and number == 12 + rank
    wide = AspectGrouped(Sized([(3, 4)] * 2), batch=5)
    assert sorted(wide.index(i) for i in range(5)) in ([0, 0, 0, 1, 1], [0, 0, 1, 1, 1])
    with pytest.raises(ConfigError, match="AspectGrouped: Unsized does not tell"):
        AspectGrouped(Unsized())
    with pytest.raises(ConfigError, match="batch = 0"):
        AspectGrouped(Sized(sizes), batch=0)
