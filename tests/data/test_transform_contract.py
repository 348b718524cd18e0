"""What every transform owes to every sample: determinism, no side effects, keys that agree, any channels."""

import inspect

import numpy as np
import pytest

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
    RandomResizedCrop=dict(size=20),
    CutOut=dict(size=9, ignore=255),
    RandomErasing=dict(ignore=255),
    Pad=dict(size=64),
    RandomRotate=dict(degrees=(20, 30)),
    RandomAffine=dict(degrees=20.0, shift=0.1, scale=(0.7, 1.3)),
)
MODULES = ("sizes", "crops", "focus_crop", "warps", "erasing", "color")
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
    if name not in ("Resize", "CenterCrop", "Pad", "Grayscale"):
        images = [build(name)(sample, rng(seed))["image"] for seed in range(6)]
        is_seeded = any(image.shape != images[0].shape or (image != images[0]).any() for image in images)
        assert is_seeded or name == "Flip"


@pytest.mark.parametrize("name", OURS)
@pytest.mark.parametrize("channels", [1, 5])
def test_images_of_other_channels_pass_or_are_refused_by_name(name, channels):
    sample = make_sample([(3, 4, 30, 22)], channels=channels)
    if name in ("Photometric", "Grayscale", "JPEG"):
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
