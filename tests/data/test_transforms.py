"""Sizes, flips, turns and padding by hand-worked numbers."""

import cv2
import numpy as np
import pytest

from segkit.data.transforms.geometry import boxes_of
from segkit.data.transforms.operations import crop, nearest_index, resize
from segkit.data.transforms.sizes import Flip, Pad, RandomResize, RandomScale, RandomShortSide, Resize, Rot90, apply
from segkit.registry import ConfigError
from tests.data.samples import make_sample, rng

hypothesis = pytest.importorskip("hypothesis")
given, settings, st = hypothesis.given, hypothesis.settings, hypothesis.strategies


def test_resize_by_hand():
    sample = dict(
        image=np.array([[0, 10, 20, 30]], np.uint8)[..., None].repeat(3, 2),
        mask=np.array([[0, 1, 2, 3]], np.int16),
        boxes=np.array([[1, 0, 3, 1]], np.float32),
        clicks=np.array([[0, 3, 0], [0, 0, 1]], np.float32),
    )
    half = Resize((1, 2))(sample, rng())
    assert half["image"][0, :, 0].tolist() == [5, 25]  # centres lie at .5 and 2.5
    assert half["mask"].tolist() == [[1, 3]] and half["mask"].dtype == np.int16
    assert half["boxes"].tolist() == [[0.5, 0, 1.5, 1]]
    assert half["clicks"].tolist() == [[0, 1.25, 0], [0, -0.25, 1]]  # (3 + .5) / 2 - .5
    twice = Resize((1, 8))(sample, rng())
    assert twice["image"][0, :, 0].tolist() == pytest.approx([0, 2.5, 7.5, 12.5, 17.5, 22.5, 27.5, 30], abs=0.5)
    assert twice["mask"].tolist() == [[0, 0, 1, 1, 2, 2, 3, 3]]
    area = Resize((1, 1), area=True)(sample, rng())
    assert area["image"][0, 0, 0] == 15
    assert half["meta"]["valid"] == (1, 2) and "meta" not in sample


@pytest.mark.parametrize("length", [1, 2, 7, 10, 360, 517])
def test_nearest_is_opencvs_exact_form(length):
    row = np.arange(length, dtype=np.int16)[None]
    for resized in [1, 2, 3, 5, 9, 64, 359, 361, 720, 1034]:
        exact = cv2.resize(row, (resized, 1), interpolation=cv2.INTER_NEAREST_EXACT)[0]
        # a centre on the border of two pixels is equally near to both: OpenCV's fixed-point numbers may take the left
        is_tied = (2 * np.arange(resized) + 1) * length % (2 * resized) == 0
        np.testing.assert_array_equal(nearest_index(length, resized)[~is_tied], exact[~is_tied])
        assert np.abs(nearest_index(length, resized) - exact).max() <= 1


@given(st.integers(2, 60), st.integers(1, 150))
@settings(max_examples=60, deadline=None)
def test_mask_and_image_have_one_geometry(length, resized):
    """On a ramp the image says where each pixel came from; its label is that of the nearest pixel."""
    ramp = np.arange(length, dtype=np.float32)
    sample = dict(image=ramp[None, :, None].repeat(3, 2), mask=ramp[None].astype(np.int16))
    moved = resize(sample, (1, resized))
    assert np.abs(moved["image"][0, :, 0] - moved["mask"][0]).max() <= 0.5 + 1e-3


def test_keep_ratio_rounds_half_up_as_mmcv():
    image = dict(image=np.zeros((100, 133, 3), np.uint8))
    for factor, size in [(0.75, (75, 100)), (1.25, (125, 166)), (1.6, (160, 213))]:
        assert RandomScale(factor, factor)(image, rng())["image"].shape[:2] == size
        box = dict(scale=(100, 1000), ratio_range=(factor, factor))  # the shorter side decides
        assert RandomResize(**box)(image, rng())["image"].shape[:2] == size
    assert Resize((50, 1000), keep_ratio=True)(image, rng())["image"].shape[:2] == (50, 67)  # 66.5 rounds up
    assert Resize((1000, 66), keep_ratio=True)(image, rng())["image"].shape[:2] == (66, 88)  # whatever the order
    assert RandomResize((9, 11), (2.49, 2.49), keep_ratio=False)(image, rng())["image"].shape[:2] == (22, 27)


def test_short_and_long_sides():
    wide = dict(image=np.zeros((50, 200, 3), np.uint8))
    assert Resize(short=100)(wide, rng())["image"].shape[:2] == (100, 400)
    assert Resize(short=100, long=300)(wide, rng())["image"].shape[:2] == (75, 300)
    assert Resize(long=100)(wide, rng())["image"].shape[:2] == (25, 100)
    assert Resize(long=300)(wide, rng())["image"].shape[:2] == (50, 200)
    sides = {RandomShortSide([20, 30], long=90)(wide, rng(seed))["image"].shape[:2] for seed in range(20)}
    assert sides == {(20, 80), (23, 90)}  # 30 x 120 is held at 90, and 22.5 rounds up


def test_random_scale_covers_its_range_evenly():
    image = dict(image=np.zeros((100, 100, 1), np.uint8))
    generator = rng(0)
    sides = [RandomScale(0.5, 2.0)(image, generator)["image"].shape[0] for _ in range(400)]
    assert 50 <= min(sides) < 60 and 190 < max(sides) <= 200
    assert np.mean(sides) == pytest.approx(125, abs=4 * 43.3 / 20)  # standard deviation 150 / sqrt(12)


def test_flip_by_hand():
    sample = dict(
        image=np.arange(6, dtype=np.uint8).reshape(2, 3, 1),
        mask=np.array([[0, 1, 2], [3, 4, 5]], np.uint8),
        boxes=np.array([[0, 0, 1, 2]], np.float32),
        clicks=np.array([[1, 0, 0], [-3, 7, 1], [-1, -1, -1], [0, 2, 2]], np.float32),
    )
    across = Flip(1.0)(sample, rng())
    assert across["image"][..., 0].tolist() == across["mask"].tolist() == [[2, 1, 0], [5, 4, 3]]
    assert across["boxes"].tolist() == [[2, 0, 3, 2]]
    # (-3, 7) is a click outside the image and lands at x = -5: now both are negative, so it is empty
    assert across["clicks"].tolist() == [[1, 2, 0], [-1, -1, -1], [-1, -1, -1], [0, 0, 2]]
    down = Flip(1.0, "vertical")(sample, rng())
    assert down["mask"].tolist() == [[3, 4, 5], [0, 1, 2]] and down["clicks"][0].tolist() == [0, 0, 0]
    both = Flip(1.0, "both")(sample, rng())
    assert both["mask"].tolist() == [[5, 4, 3], [2, 1, 0]]
    drawn = {Flip(1.0, ("horizontal", "vertical"))(sample, rng(i))["mask"][0, 0] for i in range(12)}
    assert drawn == {2, 3}
    assert Flip(0.0)(sample, rng()) is sample
    assert sum(Flip(0.3)(sample, rng(i)) is not sample for i in range(400)) == pytest.approx(120, abs=4 * 9.2)


def test_quarter_turns_are_numpys():
    sample = make_sample([(3, 4, 10, 22)])
    for turns in range(4):
        turned = Rot90(1.0, (turns,))(sample, rng())
        np.testing.assert_array_equal(turned["image"], np.rot90(sample["image"], turns))
        np.testing.assert_array_equal(turned["mask"], np.rot90(sample["mask"], turns))
        np.testing.assert_array_equal(turned["boxes"], boxes_of(turned["masks"]))
    # counter-clockwise: x becomes height, y becomes 50 - x; the click of row 5, column 6 stands at row 43, column 5
    assert Rot90(1.0, (1,))(sample, rng())["clicks"][0].tolist() == [43, 5, 0]


RECTANGLE = st.tuples(st.integers(0, 48), st.integers(0, 38), st.integers(1, 20), st.integers(1, 20))


@given(st.lists(RECTANGLE, min_size=1, max_size=4), st.integers(0, 10**6))
@settings(max_examples=40, deadline=None)
def test_boxes_follow_masks(corners, seed):
    """The box around the moved mask of a rectangle is its moved box, and what leaves the image leaves all lists."""
    boxes = [(x, y, min(x + w, 50), min(y + h, 40)) for x, y, w, h in corners]
    sample, generator = make_sample(boxes), rng(seed)
    # labels are the objects' indices, so each survivor is known
    for transform in (Flip(1.0, ("horizontal", "vertical", "both")), Rot90(1.0), Resize((80, 150))):
        moved = transform(sample, generator)
        np.testing.assert_allclose(moved["boxes"], boxes_of(moved["masks"]), atol=1e-4)
        assert moved["labels"].tolist() == list(range(len(boxes)))
    y, x = int(generator.integers(30)), int(generator.integers(30))
    cut = crop(sample, y, x, (15, 25))
    np.testing.assert_array_equal(cut["boxes"], boxes_of(cut["masks"]))
    left = [i for i, m in enumerate(sample["masks"]) if m[y : y + 15, x : x + 25].any()]
    assert cut["labels"].tolist() == left and cut["crowd"].tolist() == [i == 1 for i in left]


@given(st.integers(0, 10**6))
@settings(max_examples=20, deadline=None)
def test_flips_and_turns_undo_themselves(seed):
    sample = make_sample([(3, 4, 10, 22), (20, 10, 45, 36)])
    kind = ["both", "horizontal", "vertical"][seed % 3]
    back = apply([Flip(1.0, kind), Flip(1.0, kind)], sample, rng(seed))
    turned = apply([Rot90(1.0, (1,)), Rot90(1.0, (3,)), Rot90(1.0, (2,)), Rot90(1.0, (2,))], sample, rng(seed))
    for key in ("image", "mask", "boxes", "masks", "labels", "crowd", "layers", "clicks"):
        np.testing.assert_array_equal(back[key], sample[key])
        np.testing.assert_array_equal(turned[key], sample[key])


def test_pad_fills_at_the_right_and_bottom():
    sample = dict(image=np.ones((2, 3, 3), np.uint8), mask=np.ones((2, 3), np.uint8))
    padded = Pad((3, 4), fill=(7, 8, 9), ignore=200)(sample, rng())
    assert padded["image"][2, 3].tolist() == [7, 8, 9] and padded["image"][1, 2].tolist() == [1, 1, 1]
    assert padded["mask"].tolist() == [[1, 1, 1, 200], [1, 1, 1, 200], [200] * 4]
    assert padded["meta"]["valid"] == (2, 3)
    assert Pad(divisor=4)(sample, rng())["image"].shape == (4, 4, 3)
    assert Pad((5, 2), divisor=4)(sample, rng())["image"].shape == (8, 4, 3)
    assert Pad((2, 2))(sample, rng()) is sample
    soft = dict(sample, mask=np.ones((2, 3), np.float32))
    assert Pad(4)(soft, rng())["mask"][3, 3] == -1  # 0..1 targets have no 255
    assert Pad(4, ignore=0)(soft, rng())["mask"][3, 3] == 0
    with pytest.raises(ValueError, match=r"2 values for .*3 channels"):
        Pad(4, fill=(1, 2))(sample, rng())


def test_centred_padding_moves_everything():
    sample = make_sample([(3, 4, 10, 22)])
    padded = Pad((45, 60), centred=True)(sample, rng())
    np.testing.assert_array_equal(padded["image"][2:42, 5:55], sample["image"])
    assert (padded["mask"][:2] == 255).all() and (padded["masks"][0, :2] == 0).all()
    assert padded["boxes"].tolist() == [[8, 6, 15, 24]] and padded["clicks"][0].tolist() == [7, 11, 0]
    assert padded["clicks"][1].tolist() == [-1, -1, -1]
    assert padded["meta"]["valid"] == (45, 60)


def test_padding_stays_at_the_right_and_bottom():
    """Flips and turns act on what is image; the border that collation would add stays where the model expects it."""
    sample = make_sample([(3, 4, 10, 22)])
    for transform in (Flip(1.0), Flip(1.0, "both"), Rot90(1.0, (1,)), Rot90(1.0, (2,)), Rot90(1.0, (3,))):
        first = Pad(64)(transform(sample, rng()), rng())
        last = transform(Pad(64)(sample, rng()), rng())
        for key in ("image", "mask", "boxes", "masks", "layers", "clicks"):
            np.testing.assert_array_equal(first[key], last[key])
        assert first["meta"] == last["meta"]


def test_run_length_masks_become_maps():
    coco_mask = pytest.importorskip("pycocotools.mask")
    sample = make_sample([(3, 4, 10, 22), (20, 10, 45, 36)])
    codes = [coco_mask.encode(np.asfortranarray(mask)) for mask in sample["masks"]]
    listed = [dict(size=code["size"], counts=[160 - 3, 3, 40 * 50 - 160]) for code in codes[:1]]
    flipped = Flip(1.0)(dict(sample, masks=codes), rng())
    np.testing.assert_array_equal(flipped["masks"], sample["masks"][:, :, ::-1])
    one = Flip(1.0)(dict(image=sample["image"], masks=listed), rng())
    assert boxes_of(one["masks"]).tolist() == [[46, 37, 47, 40]]  # column 3 from row 37 on, mirrored


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: Resize(), "either size"),
        (lambda: Resize(4, short=3), "either size"),
        (lambda: Resize((4, 0)), "Resize.size"),
        (lambda: Resize((4, 5, 6)), "Resize.size"),
        (lambda: RandomScale(2.0, 0.5), "the smaller first"),
        (lambda: Flip(direction="sideways"), "horizontal, vertical, both"),
        (lambda: Rot90(turns=(4,)), "0 to 3"),
        (lambda: RandomShortSide([]), "at least one"),
        (lambda: Pad(divisor=0), "Pad.divisor"),
    ],
)
def test_wrong_arguments_are_named(make, words):
    with pytest.raises(ConfigError, match=words):
        make()
