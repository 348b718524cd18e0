"""Objects of a sample: areas, family, removal; augmentation until one is there."""

import cv2
import numpy as np
import pytest

from segkit.data.interactive.objects import (
    background,
    large_objects,
    marked,
    object_areas,
    only_listed,
    pixels_of,
    roots,
    used_layers,
    without_objects,
)
from segkit.data.interactive.until_object import UntilObject
from segkit.data.transforms.crops import RandomCrop, RandomScaleCrop
from segkit.registry import TRANSFORMS, ConfigError, build
from segkit.schema import check
from segkit.types import ClickObject
from tests.interactive.made import box, make_sample

SIZE = (20, 30)


class Counted:
    """A transform that counts its calls and shows its first sample again on each."""

    def __init__(self, transform):
        self.transform, self.seen = transform, []

    def __call__(self, sample, rng):
        self.seen.append(sample)
        return self.transform(sample, rng)


def test_masks_areas_and_background():
    sample = make_sample(
        [box(SIZE, 0, 0, 4, 5) + box(SIZE, 10, 10, 12, 13, 2), box(SIZE, 2, 0, 6, 5, 9)],
        {3: (0, 1), 8: (0, 2), 9: (0, 5)},
        [(1, 9)],
    )
    assert object_areas(sample) == {3: 20, 8: 6, 9: 0}
    mask = marked(sample, pixels_of(sample, 3))
    assert mask.dtype == np.int8 and (mask == 1).sum() == 10 and (mask == -1).sum() == 20
    assert background(sample).sum() == 600 - 20 - 6 - 10


def test_removal_links_children_to_their_grandparent():
    objects = {
        1: ClickObject(0, 1, None, (2,)),
        2: ClickObject(1, 1, 1, (3, 4)),
        3: ClickObject(2, 1, 2),
        4: ClickObject(2, 2, 2),
    }
    left = without_objects(objects, [2])
    assert left == {1: ClickObject(0, 1, None, (3, 4)), 3: ClickObject(2, 1, 1), 4: ClickObject(2, 2, 1)}
    assert roots(without_objects(objects, [1, 2])) == [3, 4]
    assert objects[1].children == (2,)
    assert without_objects(objects, [2, 3, 4, 1]) == {}


def test_labels_of_nothing_become_background():
    layers = [box(SIZE, 0, 0, 4, 4, 7), box(SIZE, 0, 0, 2, 2) + box(SIZE, 8, 8, 9, 9, 3), box(SIZE, 5, 5, 7, 7, 4)]
    sample = make_sample(layers, {1: (1, 1)}, [(2, 4)])
    cleaned = only_listed(sample)
    wanted = [np.zeros(SIZE), box(SIZE, 0, 0, 2, 2), layers[2]]
    np.testing.assert_array_equal(cleaned["layers"], np.stack(wanted, axis=2))
    np.testing.assert_array_equal(sample["layers"], np.stack(layers, axis=2))
    assert cleaned["objects"] == sample["objects"] and only_listed(cleaned) is cleaned


def test_layers_of_nothing_go():
    layers = [box(SIZE, 0, 0, 4, 4, 7), box(SIZE, 0, 0, 2, 2), box(SIZE, 5, 5, 7, 7, 4)]
    sample = make_sample(layers, {1: (1, 1)}, [(2, 4)])
    kept = used_layers(sample)
    assert kept["objects"] == {1: ClickObject(0, 1)} and kept["ignored"] == [(1, 4)]
    np.testing.assert_array_equal(kept["layers"], np.stack(layers[1:], axis=2))
    assert used_layers(kept) is kept
    assert used_layers(make_sample(layers, {}))["layers"].shape == (*SIZE, 1)


def test_small_objects_go_but_are_no_background():
    sample = make_sample([box(SIZE, 0, 0, 4, 4) + box(SIZE, 10, 10, 12, 12, 2)], {1: (0, 1), 2: (0, 2)})
    left = large_objects(sample, 5)
    assert list(left["objects"]) == [1] and background(left).sum() == 600 - 16 - 4


def test_crops_are_drawn_until_an_object_is_there():
    """An object of one pixel in a corner: one crop in 16 * 26 holds it."""
    sample = make_sample([box(SIZE, 0, 0, 1, 1)], {1: (0, 1)})
    crop = Counted(RandomCrop((5, 5)))
    drawn = UntilObject([crop], keep_background=0.0, min_area=1, tries=10000)(sample, np.random.default_rng(0))
    assert drawn["layers"][0, 0, 0] == 1 and list(drawn["objects"]) == [1]
    assert len(crop.seen) > 5 and all(seen["image"] is sample["image"] for seen in crop.seen)
    assert UntilObject([crop], 0.0, min_area=2, tries=10000)(sample, np.random.default_rng(0))["objects"] == {}


def test_objects_that_fill_the_crop_go_too():
    """Of 600 pixels 300 are half."""
    sample = make_sample([box(SIZE, 0, 0, 20, 15) + box(SIZE, 0, 20, 5, 25, 2)], {1: (0, 1), 2: (0, 2)})
    kept = {
        share: UntilObject([], min_area=1, max_share=share)(sample, np.random.default_rng(0)) for share in (0.5, 0.49)
    }
    assert [sorted(drawn["objects"]) for drawn in kept.values()] == [[1, 2], [2]]


@pytest.mark.parametrize("share, least, most", [(1.0, 1, 1), (-1.0, 1, 1), (0.5, 2, 60), (0.0, 5, 5)])
def test_background_is_kept_by_chance_or_after_the_tries(share, least, most):
    """Far off objects never enter the crop of the far corner."""
    sample = make_sample([box((40, 40), 0, 0, 2, 2)], {1: (0, 1)})
    away = Counted(lambda sample, rng: RandomCrop((5, 5))(Corner()(sample, rng), rng))
    rng = np.random.default_rng(1)
    transform = UntilObject([away], share, min_area=1, tries=5 if share == 0 else 100)
    num_runs = 1 if share != 0.5 else 15
    assert all(transform(sample, rng)["objects"] == {} for _ in range(num_runs))
    assert least <= len(away.seen) <= most


class Corner:
    def __call__(self, sample, rng):
        return dict(sample, image=sample["image"][20:, 20:], layers=sample["layers"][20:, 20:])


def test_an_image_without_objects_is_transformed_once():
    sample = make_sample([box(SIZE, 0, 0, 20, 30, 4)], {})
    crop = Counted(RandomCrop((5, 5)))
    drawn = UntilObject([crop], keep_background=0.0)(sample, np.random.default_rng(0))
    assert len(crop.seen) == 1 and drawn["objects"] == {} and background(drawn).all()


def test_an_image_smaller_than_the_crop_lies_in_the_middle():
    """The border is background and black."""
    sample = make_sample([np.ones((10, 11))], {1: (0, 1)})
    crop = RandomScaleCrop((15, 20), 1.0, 1.0, centred=True)
    drawn = UntilObject([crop], min_area=1)(sample, np.random.default_rng(0))
    np.testing.assert_array_equal(drawn["layers"][..., 0], box((15, 20), 2, 4, 12, 15))
    np.testing.assert_array_equal(drawn["image"][2:12, 4:15], sample["image"])
    assert not drawn["image"][:2].any() and drawn["meta"]["valid"] == (15, 20)


def test_it_is_built_and_checked_with_its_transforms():
    cfg = dict(type="UntilObject", transforms=[dict(type="RandomCrop", size=8), dict(type="Flip")], min_area=1)
    sample = make_sample([np.ones(SIZE)], {1: (0, 1)})
    drawn = build(cfg, TRANSFORMS, "train.transforms.0")(sample, np.random.default_rng(0))
    assert drawn["image"].shape == (8, 8, 3)
    cfg["transforms"][1]["tpye"] = 3
    with pytest.raises(ConfigError, match=r"train\.transforms\.0\.transforms\.1\.tpye"):
        check(dict(train=dict(dataset=dict(type="Shapes"), transforms=[cfg])), needed=())
    with pytest.raises(ConfigError, match="tries"):
        UntilObject([], tries=0)


def test_the_published_augmentation_keeps_objects_whole():
    """RITM's for SBD, of existing transforms: labels stay those of the objects, the black border is background, and
    image and layers move together (the image shows the labels)."""
    labels = box((60, 50), 10, 10, 50, 40) + box((60, 50), 2, 2, 8, 30, 2)
    sample = make_sample([labels], {1: (0, 1), 2: (0, 2)})
    sample["image"] = np.repeat(100 * labels[:, :, None], 3, axis=2)
    chain = [
        dict(type="RandomScale", low=0.75, high=1.25),
        dict(type="Flip", direction=("horizontal", "vertical", "both")),
        dict(type="Rot90"),
        dict(type="RandomAffine", degrees=3.0, shift=0.03, p=0.75),
        dict(type="Pad", size=(64, 64), centred=True),
        dict(type="RandomCrop", size=(48, 56)),
    ]
    until = build(dict(type="UntilObject", transforms=chain, keep_background=0.01, min_area=80), TRANSFORMS, "t")
    for seed in range(12):
        drawn = until(sample, np.random.default_rng(seed))
        layer, image = drawn["layers"][..., 0], drawn["image"][..., 0]
        assert drawn["image"].shape == (48, 56, 3) and set(np.unique(layer)) <= {0, 1, 2}
        assert all(area >= 80 for area in object_areas(drawn).values()) and drawn["objects"]
        # away from edges, which bilinear images blur, and from the crop's border, behind which there may be one
        square, inside = np.ones((7, 7), np.uint8), np.pad(np.ones((42, 50), bool), 3)
        is_inner = (cv2.dilate(layer, square) == cv2.erode(layer, square)) & inside
        np.testing.assert_array_equal(image[is_inner], 100 * layer[is_inner])
        assert is_inner.any()
