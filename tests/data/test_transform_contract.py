"""What every transform owes to every sample: determinism, no side effects, keys that agree, any channels."""

import inspect

import numpy as np
import pytest

from segkit.files import DataError
from segkit.registry import TRANSFORMS, ConfigError
from tests.data.samples import make_sample, rng

NEEDED = dict(
    Resize=dict(size=(20, 31)),
    RandomResize=dict(scale=(60, 40)),
    RandomShortSide=dict(sides=[20, 24]),
    RandomCrop=dict(size=(30, 60)),
    CenterCrop=dict(size=30),
    RandomScaleCrop=dict(size=(60, 45)),
    FocusCrop=dict(size=(60, 45)),
    StretchedCrop=dict(size=(60, 45)),
    RandomResizedCrop=dict(size=20),
    CutOut=dict(size=9, ignore=255),
    RandomErasing=dict(ignore=255),
    Pad=dict(size=64),
    ReflectPad=dict(size=64),
    RandomRotate=dict(degrees=(20, 30)),
    RandomAffine=dict(degrees=20.0, shift=0.1, scale=(0.7, 1.3)),
)
MODULES = (
    "sizes",
    "crops",
    "focus_crop",
    "stretched_crop",
    "warps",
    "grid_distortion",
    "rand_augment",
    "erasing",
    "color",
    "reflect",
)
OURS = [name for name in TRANSFORMS.names() if TRANSFORMS.get(name).__module__.rpartition(".")[2] in MODULES]


def build(name):
    """The transform, made certain to act."""
    cls = TRANSFORMS.get(name)
    sure = dict(p=1.0) if "p" in inspect.signature(cls).parameters else {}
    return cls(**NEEDED.get(name, {}), **sure)


def test_the_list_of_transforms_is_complete():
    wanted = "Resize RandomResize RandomScale RandomCrop CenterCrop RandomScaleCrop Flip RandomRotate Rot90 Pad Elastic"
    wanted += " CutOut RandomErasing Photometric Blur Grayscale JPEG Gamma"
    assert set(wanted.split()) <= set(OURS)


def test_transforms_show_their_arguments():
    assert repr(build("Pad")) == "Pad(size=(64, 64))"
    assert repr(build("RandomRotate")) == "RandomRotate(degrees=(20, 30), p=1.0)"
    assert repr(TRANSFORMS.get("UntilBox")([build("Flip")], 3)) == "UntilBox(transforms=(Flip(p=1.0),), tries=3)"


@pytest.mark.parametrize("name", OURS)
def test_every_transform_keeps_the_contract(name):
    """Same seed, same result; inputs unchanged; all keys agree in size; other seeds differ where there is chance."""
    sample = make_sample([(3, 4, 30, 22), (20, 10, 45, 36), (0, 30, 50, 40)])
    before = {key: np.copy(value) for key, value in sample.items() if key != "meta"}
    first, second = build(name)(sample, rng(3)), build(name)(sample, rng(3))
    for key, value in before.items():
        np.testing.assert_array_equal(sample[key], value)
        np.testing.assert_array_equal(first[key], second[key])
        assert first[key].dtype == value.dtype, key
    assert sample["meta"] == dict(id="made", path="made.png", size=(40, 50))
    size = first["image"].shape[:2]
    assert first["mask"].shape == first["layers"].shape[:2] == first["masks"].shape[1:] == size
    assert len(first["boxes"]) == len(first["masks"]) == len(first["labels"]) == len(first["crowd"])
    np.testing.assert_array_equal(first["layers"][..., 1], 7 * first["layers"][..., 0])
    visible = first["mask"] != 255
    np.testing.assert_array_equal(first["mask"][visible], first["layers"][visible][:, 0])
    if name not in ("Resize", "CenterCrop", "Pad", "ReflectPad", "Grayscale"):
        images = [build(name)(sample, rng(seed))["image"] for seed in range(6)]
        is_seeded = any(image.shape != images[0].shape or (image != images[0]).any() for image in images)
        assert is_seeded or name == "Flip"


@pytest.mark.parametrize("name", OURS)
def test_masks_of_overlapping_classes_move_one_by_one(name):
    """[H,W,K] moves as K maps [H,W] do, and the values stay 0, 1 and 255."""
    sample = make_sample([(3, 4, 30, 22), (20, 10, 45, 36)])
    planes = np.stack([sample["mask"] == 0, sample["mask"] > 0, sample["mask"] == 1], axis=2).astype(np.uint8)
    moved = build(name)({**sample, "mask": planes}, rng(5))
    assert moved["mask"].dtype == np.uint8 and moved["mask"].shape == (*moved["image"].shape[:2], 3)
    for k in range(3):
        alone = build(name)({**sample, "mask": planes[:, :, k]}, rng(5))
        np.testing.assert_array_equal(moved["mask"][:, :, k], alone["mask"])
    assert set(np.unique(moved["mask"])) <= {0, 1, 255}


def test_what_needs_one_class_per_pixel_refuses_overlapping_ones():
    sample = make_sample([(3, 4, 30, 22)])
    sample["mask"] = sample["mask"][:, :, None].repeat(2, 2)
    for transform in (
        TRANSFORMS.get("RandomCrop")(size=20, cat_max_ratio=0.75),
        TRANSFORMS.get("RandomScaleCrop")(size=20, cat_max_ratio=0.75),
        TRANSFORMS.get("CellWeights")(),
    ):
        with pytest.raises(ConfigError, match="needs one class per pixel, and these overlap"):
            transform(sample, rng())


@pytest.mark.parametrize("centred", [True, False])
@pytest.mark.parametrize("channels", [1, 3, 5])
def test_mirrored_padding_equals_numpys(centred, channels):
    """101 x 90 to 128 x 96: 27 and 6 pixels, the smaller half first; the border itself is not repeated."""
    image = np.random.default_rng(0).integers(0, 256, (101, 90, channels)).astype(np.float32)
    mask = np.random.default_rng(1).integers(0, 2, (101, 90, 2)).astype(np.uint8)
    sample = dict(image=image, mask=mask, meta=dict(id="a", path="a.png", size=(101, 90)))
    padded = TRANSFORMS.get("ReflectPad")(size=(128, 1), divisor=32, centred=centred)(sample, rng())
    widths = [(13, 14), (3, 3), (0, 0)] if centred else [(0, 27), (0, 6), (0, 0)]
    np.testing.assert_array_equal(padded["image"], np.pad(image, widths, mode="reflect"))
    np.testing.assert_array_equal(padded["mask"], np.pad(mask, widths, mode="reflect"))
    assert padded["meta"]["valid"] == (128, 96)


def test_an_image_too_small_to_mirror_is_named():
    sample = dict(image=np.zeros((10, 40, 3), np.uint8), meta=dict(id="a", path="a.png", size=(10, 40)))
    with pytest.raises(DataError, match=r"a\.png: 40x10 pixels cannot be mirrored to 40x30"):
        TRANSFORMS.get("ReflectPad")(size=(30, 40))(sample, rng())
    assert TRANSFORMS.get("ReflectPad")(size=(28, 40))(sample, rng())["image"].shape == (28, 40, 3)


@pytest.mark.parametrize("name", OURS)
@pytest.mark.parametrize("channels", [1, 5])
def test_images_of_other_channels_pass_or_are_refused_by_name(name, channels):
    sample = make_sample([(3, 4, 30, 22)], channels=channels)
    if name in ("Photometric", "Grayscale", "JPEG", "ColorJitter"):
        with pytest.raises(ConfigError, match=f"{name} needs RGB.*has {channels}"):
            build(name)(sample, rng())
    else:
        moved = build(name)(sample, rng())["image"]
        assert moved.ndim == 3 and moved.shape[2] == channels and moved.dtype == np.uint8


@pytest.mark.parametrize("name", OURS)
def test_samples_without_labels_or_objects_pass(name):
    plain = dict(image=make_sample([])["image"], meta=dict(path="made.png"))
    assert set(build(name)(plain, rng())) - {"window"} == {"image", "meta"}
    none_left = build(name)(make_sample([]), rng())
    assert none_left["boxes"].shape == (0, 4) and len(none_left["masks"]) == 0
