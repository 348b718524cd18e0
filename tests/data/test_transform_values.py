"""Every registered transform on images of 1, 3 and 5 channels, uint8, uint16 and float32: right, or refused by name."""

import inspect

import numpy as np
import pytest

from segkit.data.transforms.base import ImageFacts, Transform, check_all
from segkit.data.transforms.color import Blur, BrightnessContrast, ChannelShift, Gamma, Photometric
from segkit.data.transforms.color_operations import ColorTransform
from segkit.data.transforms.rand_augment import COLORS, RandAugment
from segkit.registry import TRANSFORMS, ConfigError
from tests.data.samples import make_sample, rng
from tests.data.test_transform_contract import NEEDED

INNER = dict(
    HardThenSoft=dict(hard=[], soft=[]),
    UntilBox=dict(transforms=[]),
    UntilObject=dict(transforms=[]),
)
NAMES = TRANSFORMS.names()
OF_OBJECTS = ("SampleClicks", "UntilObject", "CoarseMask")
"""Transforms that read objects, and leave the image as it is or to the transforms that they hold."""
GREY = dict(Photometric=dict(saturation=(1, 1), hue=0))


def build(name, **more):
    """The transform, made certain to act."""
    cls = TRANSFORMS.get(name)
    sure = dict(p=1.0) if "p" in inspect.signature(cls).parameters else {}
    return cls(**NEEDED.get(name, {}), **INNER.get(name, {}), **sure, **more)


def image_of(kind, channels, top=255):
    values = rng(1).integers(0, 256, (40, 50, channels)).astype(np.float64) * (top / 255)
    return values.astype(kind)


def facts(image):
    return ImageFacts(image.shape[2], image.dtype == np.uint8, float(image.min()), float(image.max()))


def changed(transform, image):
    """The image that a transform makes, or None where it works on objects, or on pairs of samples, alone."""
    if type(transform).__name__ in OF_OBJECTS:
        return None
    sample = make_sample([(3, 4, 30, 22)])
    try:
        return transform({**sample, "image": image}, rng(2))["image"]
    except ConfigError as error:
        if "must stand in train.transforms itself" in str(error):
            return None
        raise


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("channels", [1, 3, 5])
def test_what_the_check_lets_pass_is_changed_alike_in_uint8_and_float(name, channels):
    """The check decides before training; what it lets pass keeps type, channels and range, and both types agree."""
    transform = build(name, **(GREY.get(name, {}) if channels != 3 else {}))
    whole = image_of(np.uint8, channels)
    try:
        check_all([transform], facts(whole))
    except ConfigError as error:
        assert channels != 3 and f"{name} needs RGB images of 3 channels" in str(error)
        return
    result = changed(transform, whole)
    if result is None:
        return
    assert result.dtype == np.uint8 and result.shape[2] == channels
    real = image_of(np.float32, channels)
    if transform_refuses(transform, real):
        assert name == "JPEG"
        return
    precise = changed(transform, real)
    assert precise.dtype == np.float32 and precise.shape == result.shape
    assert precise.min() >= 0 and precise.max() <= 255
    # equal but for the rounding to whole levels; solarize and equalize may send neighboring levels apart
    assert np.median(np.abs(precise - result)) <= 1


def transform_refuses(transform, image) -> bool:
    try:
        check_all([transform], facts(image))
    except ConfigError:
        return True
    return False


VALUES = [name for name in NAMES if isinstance(build(name), ColorTransform | RandAugment)]
NOISE = ["RandomErasing"]
"""Writes noise of 0..255 into the image where no value is given for it."""


@pytest.mark.parametrize("name", NAMES)
def test_values_of_another_range_are_refused_before_training_or_not_touched(name):
    """Reflectances up to 10,000: what maps values would clip nearly all of them; what moves pixels keeps them."""
    image = image_of(np.float32, 3, top=10_000)
    transform = build(name)
    if name in VALUES + NOISE:
        remedy = "needs uint8 images" if name == "JPEG" else "works on values of 0 to 255, .* set scale=.'p1', 'p99'"
        with pytest.raises(ConfigError, match=rf"{name} {remedy}"):
            transform.check(facts(image))
        if name not in ("JPEG", "RandAugment", *NOISE):
            with pytest.raises(ConfigError, match=rf"{name} works on values of 0 to 255"):
                transform(dict(image=image), rng())
        return
    check_all([transform], facts(image))
    if (result := changed(transform, image)) is not None:
        # at least what is left of the picture has its values
        assert result.max() > 5_000


def test_values_of_0_to_1_are_refused_with_the_range_to_set():
    image = image_of(np.float32, 3, top=1)
    for name in VALUES:
        if name != "JPEG":
            with pytest.raises(ConfigError, match=rf"{name} .*hold 0 to 1; set scale=\(0, 1\)"):
                build(name).check(facts(image))


@pytest.mark.parametrize("name", NAMES)
def test_16_bits_are_moved_as_they_are_and_recolored_only_as_float(name):
    """Data sets of segkit give uint8 and float32; a user's own may give uint16."""
    image = image_of(np.uint16, 3, top=4095)
    if name in VALUES:
        if name != "RandAugment":
            with pytest.raises(ConfigError, match=f"{name} needs uint8"):
                build(name)(dict(image=image), rng())
        return
    result = changed(build(name), image)
    assert result is None or (result.dtype == np.uint16 and result.max() > 2000)  # erased by noise of 0..255 in part


def test_inner_transforms_are_asked_too():
    facts_of_bands = ImageFacts(5, False, 0.0, 200.0)
    for outer in (
        TRANSFORMS.get("HardThenSoft")(hard=[Photometric()], soft=[]),
        TRANSFORMS.get("UntilBox")([Photometric()]),
        TRANSFORMS.get("UntilObject")([Photometric()]),
        TRANSFORMS.get("UntilBox")([TRANSFORMS.get("UntilObject")([Photometric()])]),
    ):
        with pytest.raises(ConfigError, match="Photometric needs RGB images of 3 channels, this one has 5; set satur"):
            check_all([lambda sample, rng: sample, outer], facts_of_bands)
    erasing = TRANSFORMS.get("RandomErasing")
    with pytest.raises(ConfigError, match="RandomErasing works on values of 0 to 255"):
        erasing().check(ImageFacts(3, False, -5.0, 9000.0))
    erasing(fill=0).check(ImageFacts(3, False, -5.0, 9000.0))


@pytest.mark.parametrize(
    "transform",
    [
        BrightnessContrast(p=1.0),
        Gamma(p=1.0),
        Blur(p=1.0),
        Photometric(saturation=(1, 1), hue=0.0, p=1.0),
        *(
            type(name, (Transform,), dict(__call__=lambda self, s, r, name=name: RandAugment().apply(name, s, 0.7)))()
            for name in COLORS
            if name not in ("color", "contrast", "auto_contrast", "equalize")
        ),
    ],
    ids=lambda transform: type(transform).__name__,
)
def test_channels_are_changed_one_by_one(transform):
    """Five channels alike are what each of them gives alone; the others mix channels or take statistics of all."""
    image = image_of(np.float32, 5)
    together = transform(dict(image=image), rng(4))["image"]
    for channel in range(5):
        alone = transform(dict(image=image[:, :, channel : channel + 1]), rng(4))["image"]
        np.testing.assert_allclose(together[:, :, channel], alone[:, :, 0], atol=1e-3)


def test_a_shift_has_one_number_for_each_channel():
    image = np.full((2, 2, 5), 100, np.float32)
    shifts = ChannelShift(limit=10, p=1.0)(dict(image=image), rng(0))["image"][0, 0] - 100
    assert len(set(shifts.tolist())) > 1 and np.abs(shifts).max() <= 10
