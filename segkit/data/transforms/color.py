"""Photometric transforms: they change the image alone, and of a padded one only the valid part.

They take uint8 and float32 images of values in 0..255. Transforms that need colors raise ConfigError on images whose
number of channels is not 3 (RGB); the others treat every channel alike, however many there are. Values of another range
are refused before training: the key `scale` of the data set brings them to 0..255.
"""

from collections.abc import Callable

import cv2
import numpy as np

from segkit.constraints.named import Fraction, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from segkit.data.transforms.color_operations import (
    ColorTransform,
    compressed,
    map_values,
    need_rgb,
    recolor,
    turn_colors,
)
from segkit.data.transforms.geometry import by_channels
from segkit.data.transforms.sizes import as_range
from segkit.registry import TRANSFORMS, ConfigError
from segkit.types import Sample


@TRANSFORMS.register
class Photometric(ColorTransform):
    """The photometric distortion of SSD (Liu et al., ECCV 2016) as mmsegmentation draws it.

    Reads image and meta["valid"]; changes image. Brightness, contrast, saturation and hue change with probability p
    each; contrast before or after saturation and hue, equally likely. Values are clipped to 0..255 after each step and
    rounded once at the end, so the result is within a level of the same steps in real numbers; mmsegmentation truncates
    to whole levels after each step and hue to 2 degrees.

    Args:
        brightness: adds U(-brightness, brightness) to the values.
        contrast: multiplies the values by U(contrast).
        saturation: multiplies HSV's saturation by U(saturation).
        hue: adds U(-hue, hue) to HSV's hue, in OpenCV's units of 2 degrees.
        p: probability of each step.

    With saturation=(1, 1) and hue=0 it takes images of any number of channels.
    """

    way_out = "set saturation=(1, 1) and hue=0 for other images"

    def __init__(
        self,
        brightness: NonNegativeFloat = 32.0,
        contrast: tuple[NonNegativeFloat, NonNegativeFloat] = (0.5, 1.5),
        saturation: tuple[NonNegativeFloat, NonNegativeFloat] = (0.5, 1.5),
        hue: NonNegativeFloat = 18.0,
        p: Fraction = 0.5,
    ):
        self.contrast = as_range(*contrast, "Photometric.contrast")
        self.saturation = as_range(*saturation, "Photometric.saturation")
        self.brightness, self.hue, self.p = brightness, hue, p
        self.needs_rgb = self.saturation != (1, 1) or hue != 0

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Returns the sample with another image.

        Args:
            sample: it stays as it is.
            rng: draws which steps apply and by how much.

        Raises:
            ConfigError: where saturation or hue may change and the image has not 3 channels.
        """
        if self.needs_rgb:
            need_rgb(sample["image"].shape[2], "Photometric", self.way_out)
        applies, contrast_is_first = rng.random(4) < self.p, rng.random() < 0.5
        shift = rng.uniform(-self.brightness, self.brightness) if applies[0] else 0.0
        contrast = rng.uniform(*self.contrast) if applies[1] else 1.0
        saturation = rng.uniform(*self.saturation) if applies[2] else 1.0
        degrees = 2 * rng.uniform(-self.hue, self.hue) if applies[3] else 0.0
        gain, last = (contrast, 1.0) if contrast_is_first else (1.0, contrast)

        def before(values: np.ndarray) -> np.ndarray:
            return np.clip(values + shift, 0, 255) * gain

        if saturation != 1 or degrees != 0:
            return recolor(self, sample, lambda image: turn_colors(image, before, saturation, degrees, last))
        if shift == 0 and contrast == 1:
            return sample
        return recolor(self, sample, lambda image: map_values(image, lambda values: before(values) * last))


@TRANSFORMS.register
class BrightnessContrast(ColorTransform):
    """Maps values to value * (1 + c) + 255 b, with probability p.

    Reads image, of any number of channels, and meta["valid"]; changes image. brightness=(-.25, .25),
    contrast=(-.15, .4), p=.75 is RITM's.

    Args:
        brightness: range of b, uniform.
        contrast: range of c, uniform.
        p: probability.
    """

    def __init__(
        self,
        brightness: tuple[float, float] = (-0.2, 0.2),
        contrast: tuple[float, float] = (-0.2, 0.2),
        p: Fraction = 0.5,
    ):
        self.brightness, self.contrast, self.p = brightness, contrast, p

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Returns the sample with another image, or the given one."""
        if rng.random() >= self.p:
            return sample
        shift, factor = 255 * rng.uniform(*self.brightness), 1 + rng.uniform(*self.contrast)
        return recolor(self, sample, lambda image: map_values(image, lambda values: values * factor + shift))


@TRANSFORMS.register
class ChannelShift(ColorTransform):
    """Adds a different random number to each channel, with probability p.

    Reads image, of any number of channels, and meta["valid"]; changes image.

    Args:
        limit: the numbers are whole, uniform in [-limit, limit].
        p: probability.
    """

    def __init__(self, limit: PositiveInt = 10, p: Fraction = 0.5):
        self.limit, self.p = limit, p

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Returns the sample with another image, or the given one."""
        if rng.random() >= self.p:
            return sample
        shifts = rng.integers(-self.limit, self.limit + 1, sample["image"].shape[2])

        def shifted(image: np.ndarray) -> np.ndarray:
            if image.dtype != np.uint8:
                return np.clip(image + shifts.astype(image.dtype), 0, 255)
            tables = np.clip(np.arange(256)[:, None] + shifts, 0, 255).astype(np.uint8)
            return by_channels(lambda group, of: cv2.LUT(group, np.ascontiguousarray(tables[None, :, of])), image)

        return recolor(self, sample, shifted)


@TRANSFORMS.register
class Gamma(ColorTransform):
    """Maps values to 255 (value / 255) ** gamma, with probability p.

    Reads image, of any number of channels, and meta["valid"]; changes image.

    Args:
        low: smallest gamma.
        high: largest gamma; it is log-uniform between the two.
        p: probability.
    """

    def __init__(self, low: PositiveFloat = 0.8, high: PositiveFloat = 1.25, p: Fraction = 0.5):
        self.low, self.high = as_range(low, high, "Gamma.low, high")
        self.p = p

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Returns the sample with another image, or the given one."""
        if rng.random() >= self.p:
            return sample
        gamma = np.exp(rng.uniform(np.log(self.low), np.log(self.high)))
        return recolor(
            self, sample, lambda image: map_values(image, lambda values: 255 * (np.maximum(values, 0) / 255) ** gamma)
        )


@TRANSFORMS.register
class ColorJitter(ColorTransform):
    """Changes brightness, contrast, saturation and hue by factors, in a random order, with probability p for all.

    Reads image and meta["valid"]; changes image. Factors are torchvision's ColorJitter's: each is drawn uniformly from
    1 - strength (at least 0) to 1 + strength; brightness multiplies the values, contrast their distance from the mean
    luma of the image, saturation their distance from the pixel's luma, and hue is turned by a share of the circle drawn
    from -hue to hue. Values are clipped to 0..255 after each step and rounded once at the end.

    Args:
        brightness, contrast, saturation: strengths of the factors.
        hue: largest share of the circle, 0 to 0.5.
        p: probability.
    """

    needs_rgb = True

    def __init__(
        self,
        brightness: NonNegativeFloat = 0.4,
        contrast: NonNegativeFloat = 0.4,
        saturation: NonNegativeFloat = 0.4,
        hue: Fraction = 0.1,
        p: Fraction = 0.8,
    ):
        self.brightness, self.contrast, self.saturation, self.hue, self.p = brightness, contrast, saturation, hue, p

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Returns the sample with another image, or the given one.

        Args:
            sample: it stays as it is.
            rng: decides whether, by how much and in which order.

        Raises:
            ConfigError: where the image has not 3 channels.
        """
        need_rgb(sample["image"].shape[2], "ColorJitter", self.way_out)
        if rng.random() >= self.p:
            return sample
        strengths = (self.brightness, self.contrast, self.saturation)
        factors = [rng.uniform(max(1 - strength, 0), 1 + strength) for strength in strengths]
        degrees = 360 * rng.uniform(-self.hue, self.hue)
        order = rng.permutation(4)
        return recolor(self, sample, lambda image: jittered(image, factors, degrees, order))


@TRANSFORMS.register
class Grayscale(ColorTransform):
    """Replaces R, G and B by their luma .299 R + .587 G + .114 B (ITU-R BT.601), with probability p.

    Reads image and meta["valid"]; changes image.

    Args:
        p: probability.
    """

    needs_rgb = True

    def __init__(self, p: Fraction = 0.1):
        self.p = p

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Returns the grey sample, or the given one.

        Args:
            sample: it stays as it is.
            rng: decides whether.

        Raises:
            ConfigError: where the image has not 3 channels.
        """
        need_rgb(sample["image"].shape[2], "Grayscale", self.way_out)
        if rng.random() >= self.p:
            return sample
        return recolor(
            self, sample, lambda image: cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
        )


@TRANSFORMS.register
class Blur(ColorTransform):
    """Blurs by a Gaussian of random width, with probability p.

    Reads image, of any number of channels, and meta["valid"]; changes image.

    Args:
        low: smallest sigma in pixels.
        high: largest sigma; it is uniform between the two.
        p: probability.
        kernel: pixels of a side of the kernel, an odd number; 0 for as many as the width needs.

    Raises:
        ConfigError: the kernel is even.
    """

    def __init__(
        self, low: PositiveFloat = 0.1, high: PositiveFloat = 2.0, p: Fraction = 0.5, kernel: NonNegativeInt = 0
    ):
        self.low, self.high = as_range(low, high, "Blur.low, high")
        if kernel and kernel % 2 == 0:
            raise ConfigError(f"Blur.kernel = {kernel}: must be an odd number, or 0 for as wide a kernel as needed")
        self.p, self.kernel = p, kernel

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Returns the blurred sample, or the given one."""
        if rng.random() >= self.p:
            return sample
        sigma = rng.uniform(self.low, self.high)
        sides = (self.kernel, self.kernel)
        return recolor(
            self, sample, lambda image: by_channels(lambda group, _: cv2.GaussianBlur(group, sides, sigma), image)
        )


@TRANSFORMS.register
class JPEG(ColorTransform):
    """Compresses and decompresses as JPEG of random quality, with probability p.

    Reads image, uint8 RGB, and meta["valid"]; changes image.

    Args:
        low: lowest quality, 1 to 100.
        high: highest quality; it is a whole number, uniform between the two.
        p: probability.

    Raises:
        ConfigError: for qualities beyond 1 to 100, or not in order.
    """

    needs_rgb = needs_uint8 = True

    def __init__(self, low: PositiveInt = 40, high: PositiveInt = 95, p: Fraction = 0.5):
        if not 1 <= low <= high <= 100:
            raise ConfigError(f"JPEG.low, high = ({low}, {high}): must be qualities of 1 to 100, the smaller first")
        self.low, self.high, self.p = low, high, p

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Returns the compressed sample, or the given one.

        Args:
            sample: it stays as it is.
            rng: draws the quality.

        Raises:
            ConfigError: where the image is not uint8 RGB.
        """
        need_rgb(sample["image"].shape[2], "JPEG", self.way_out)
        if sample["image"].dtype != np.uint8:
            raise ConfigError(f"JPEG needs uint8 images, this one is {sample['image'].dtype}; leave the transform out")
        if rng.random() >= self.p:
            return sample
        quality = int(rng.integers(self.low, self.high + 1))
        return recolor(self, sample, lambda image: compressed(image, quality))


def jittered(image: np.ndarray, factors: list[float], degrees: float, order: np.ndarray) -> np.ndarray:
    """Applies the four steps of ColorJitter.

    Args:
        image: uint8 or float32 [H,W,3] RGB in 0..255.
        factors: of brightness, contrast and saturation.
        degrees: by which the hue is turned.
        order: a permutation of 0..3: brightness, contrast, saturation, hue.

    Returns:
        The same shape and dtype.
    """

    def away_from(values: np.ndarray, base: np.ndarray | float, factor: float) -> np.ndarray:
        return np.clip(base + (values - base) * np.float32(factor), 0, 255)

    steps: tuple[Callable[[np.ndarray], np.ndarray], ...] = (
        lambda values: away_from(values, 0.0, factors[0]),
        lambda values: away_from(values, float(luma(values).mean()), factors[1]),
        lambda values: away_from(values, luma(values)[:, :, None], factors[2]),
        lambda values: turn_colors(values, lambda levels: levels, 1.0, degrees, 1.0) if degrees else values,
    )
    values = image.astype(np.float32)
    for number in order:
        values = steps[number](values)
    return np.rint(values).astype(np.uint8) if image.dtype == np.uint8 else values.astype(image.dtype)


def luma(values: np.ndarray) -> np.ndarray:
    """Returns .299 R + .587 G + .114 B (ITU-R BT.601), float32 [H,W], of float32 [H,W,3]."""
    return cv2.cvtColor(values, cv2.COLOR_RGB2GRAY)
