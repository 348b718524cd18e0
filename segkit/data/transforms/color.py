"""Photometric transforms: they change the image alone, and of a padded one only the valid part.

Values are 0..255, uint8 or float32, and stay what they are. uint8 images go through tables of 256 values and, where
colors are turned, strip by strip through float32 HSV, so that one operation rounds once. Transforms that need colors
raise ConfigError on images whose number of channels is not 3 (RGB).
"""

from collections.abc import Callable

import cv2
import numpy as np

from segkit.data.transforms.geometry import by_channels, valid_size, within
from segkit.data.transforms.sizes import as_range
from segkit.registry import TRANSFORMS, ConfigError
from segkit.types import Sample

STRIP = 32
"""Rows per strip: float buffers of a strip stay in the cache, those of a whole image do not (1.2 against 4 ms)."""


def recolor(sample: Sample, function: Callable[[np.ndarray], np.ndarray]) -> Sample:
    """function: [h,w,C] -> same shape and dtype, not in place -> a new sample with the image's valid part changed."""
    changed = Sample(**sample)
    changed["image"] = within(valid_size(sample), function, sample["image"])
    return changed


def need_rgb(image: np.ndarray, name: str, way_out: str) -> None:
    """ConfigError where the image [H,W,C] has not 3 channels."""
    if image.shape[2] != 3:
        raise ConfigError(f"{name} needs RGB images of 3 channels, this one has {image.shape[2]}; {way_out}")


def look_up(image: np.ndarray, table: np.ndarray) -> np.ndarray:
    """image: uint8 [H,W,C], table: [256] of any dtype -> [H,W,C] of its dtype."""
    if image.shape[2] in (3, 4):
        return cv2.LUT(image, table)
    return cv2.LUT(image.reshape(image.shape[0], -1), table).reshape(image.shape)


def map_values(image: np.ndarray, law: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """law: float [...] of 0..255 -> the same; uint8 images get it as a table, rounded to nearest and cut to 0..255."""
    if image.dtype != np.uint8:
        return np.clip(law(image), 0, 255).astype(image.dtype)
    table = np.clip(np.rint(law(np.arange(256, dtype=np.float64))), 0, 255).astype(np.uint8)
    return look_up(image, table)


def turn_colors(image: np.ndarray, before: Callable, saturation: float, degrees: float, gain: float) -> np.ndarray:
    """Applies `before` (to 0..255), scales HSV saturation (cut at 1), turns the hue, then multiplies all by gain.

    image: uint8 or float32 [H,W,3]. Value is the largest of R, G, B and both steps leave it, so the gain acts on it.
    """
    height, width = image.shape[:2]
    table = np.clip(before(np.arange(256, dtype=np.float64)), 0, 255).astype(np.float32) / np.float32(255)
    change = np.diag([1.0, saturation, gain]).astype(np.float32)
    change = np.concatenate([change, np.array([[degrees % 360], [0], [0]], np.float32)], axis=1)
    out = np.empty(image.shape, image.dtype)
    buffers = np.empty((2, min(STRIP, height), width, 3), np.float32)
    # Saturation ends at 1, hue and value are free: OpenCV takes hues beyond 360 degrees. A map, since OpenCV may take
    # four numbers for a matrix where the image is as small.
    most = np.empty_like(buffers[0]) if saturation > 1 else None
    if most is not None:
        most[:] = (np.inf, 1, np.inf)
    for start in range(0, height, STRIP):
        rows = image[start : start + STRIP]
        first, second = buffers[:, : len(rows)]
        if rows.dtype == np.uint8:
            cv2.LUT(rows, table, dst=first)
        else:
            np.divide(np.clip(before(rows), 0, 255), 255, out=first)
        cv2.cvtColor(first, cv2.COLOR_RGB2HSV, dst=second)
        cv2.transform(second, change, dst=first)
        if most is not None:
            cv2.min(first, most[: len(rows)], dst=first)
        cv2.cvtColor(first, cv2.COLOR_HSV2RGB, dst=second)
        if rows.dtype == np.uint8:
            cv2.convertScaleAbs(second, dst=out[start : start + STRIP], alpha=255)
        else:
            np.clip(second * np.float32(255), 0, 255, out=out[start : start + STRIP])
    return out


@TRANSFORMS.register
class Photometric:
    """The photometric distortion of SSD (Liu et al., ECCV 2016) as mmsegmentation draws it.

    Each with probability p: brightness adds U(-brightness, brightness); contrast multiplies by U(contrast), before or
    after the colors, evenly; saturation multiplies HSV's by U(saturation); hue adds U(-hue, hue) in OpenCV's units of
    2 degrees. Values are cut to 0..255 after each step and rounded once at the end, so the result is within a level of
    the same law in real numbers; mmsegmentation truncates to whole levels after each step and hue to 2 degrees.
    Images of any number of channels are taken where saturation=(1, 1) and hue=0.
    """

    def __init__(
        self,
        brightness: float = 32.0,
        contrast: tuple[float, float] = (0.5, 1.5),
        saturation: tuple[float, float] = (0.5, 1.5),
        hue: float = 18.0,
        p: float = 0.5,
    ):
        self.contrast = as_range(*contrast, "Photometric.contrast")
        self.saturation = as_range(*saturation, "Photometric.saturation")
        self.brightness, self.hue, self.p = brightness, hue, p
        self.needs_rgb = self.saturation != (1, 1) or hue != 0

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """-> the sample with another image. ConfigError where colors are to change and there are not 3 channels."""
        if self.needs_rgb:
            need_rgb(sample["image"], "Photometric", "set saturation=(1, 1) and hue=0 for other images")
        does, is_first = rng.random(4) < self.p, rng.random() < 0.5
        shift = rng.uniform(-self.brightness, self.brightness) if does[0] else 0.0
        contrast = rng.uniform(*self.contrast) if does[1] else 1.0
        saturation = rng.uniform(*self.saturation) if does[2] else 1.0
        degrees = 2 * rng.uniform(-self.hue, self.hue) if does[3] else 0.0
        gain, last = (contrast, 1.0) if is_first else (1.0, contrast)

        def before(values: np.ndarray) -> np.ndarray:
            return np.clip(values + shift, 0, 255) * gain

        if saturation != 1 or degrees != 0:
            return recolor(sample, lambda image: turn_colors(image, before, saturation, degrees, last))
        if shift == 0 and contrast == 1:
            return sample
        return recolor(sample, lambda image: map_values(image, lambda values: before(values) * last))


@TRANSFORMS.register
class BrightnessContrast:
    """With probability p: value * (1 + c) + 255 b, b uniform in `brightness`, c in `contrast`; any number of channels.

    brightness=(-.25, .25), contrast=(-.15, .4), p=.75 is RITM's.
    """

    def __init__(
        self,
        brightness: tuple[float, float] = (-0.2, 0.2),
        contrast: tuple[float, float] = (-0.2, 0.2),
        p: float = 0.5,
    ):
        self.brightness, self.contrast, self.p = brightness, contrast, p

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """-> the sample with another image, or the given one."""
        if rng.random() >= self.p:
            return sample
        shift, factor = 255 * rng.uniform(*self.brightness), 1 + rng.uniform(*self.contrast)
        return recolor(sample, lambda image: map_values(image, lambda values: values * factor + shift))


@TRANSFORMS.register
class ChannelShift:
    """With probability p adds to each channel a whole number of its own, uniform in [-limit, limit]; any channels."""

    def __init__(self, limit: int = 10, p: float = 0.5):
        self.limit, self.p = limit, p

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """-> the sample with another image, or the given one."""
        if rng.random() >= self.p:
            return sample
        shifts = rng.integers(-self.limit, self.limit + 1, sample["image"].shape[2])

        def shifted(image: np.ndarray) -> np.ndarray:
            if image.dtype != np.uint8:
                return np.clip(image + shifts.astype(image.dtype), 0, 255)
            tables = np.clip(np.arange(256)[:, None] + shifts, 0, 255).astype(np.uint8)
            return by_channels(lambda part, of: cv2.LUT(part, np.ascontiguousarray(tables[None, :, of])), image)

        return recolor(sample, shifted)


@TRANSFORMS.register
class Gamma:
    """With probability p: 255 (value / 255) ** gamma, gamma log-uniform in [low, high]; any number of channels."""

    def __init__(self, low: float = 0.8, high: float = 1.25, p: float = 0.5):
        self.low, self.high = as_range(low, high, "Gamma.low, high")
        self.p = p

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """-> the sample with another image, or the given one."""
        if rng.random() >= self.p:
            return sample
        gamma = np.exp(rng.uniform(np.log(self.low), np.log(self.high)))
        return recolor(
            sample, lambda image: map_values(image, lambda values: 255 * (np.maximum(values, 0) / 255) ** gamma)
        )


@TRANSFORMS.register
class Grayscale:
    """With probability p replaces R, G and B by their luma .299 R + .587 G + .114 B (ITU-R BT.601)."""

    def __init__(self, p: float = 0.1):
        self.p = p

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """-> the grey sample, or the given one. ConfigError where the image has not 3 channels."""
        need_rgb(sample["image"], "Grayscale", "leave the transform out")
        if rng.random() >= self.p:
            return sample
        return recolor(sample, lambda image: cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB))


@TRANSFORMS.register
class Blur:
    """With probability p blurs by a Gaussian, its sigma in pixels uniform in [low, high]; any number of channels."""

    def __init__(self, low: float = 0.1, high: float = 2.0, p: float = 0.5):
        self.low, self.high = as_range(low, high, "Blur.low, high")
        self.p = p

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """-> the blurred sample, or the given one."""
        if rng.random() >= self.p:
            return sample
        sigma = rng.uniform(self.low, self.high)
        return recolor(sample, lambda image: by_channels(lambda part, _: cv2.GaussianBlur(part, (0, 0), sigma), image))


@TRANSFORMS.register
class JPEG:
    """With probability p compresses and decompresses as JPEG, its quality a whole number uniform in [low, high]."""

    def __init__(self, low: int = 40, high: int = 95, p: float = 0.5):
        if not 1 <= low <= high <= 100:
            raise ConfigError(f"JPEG.low, high = ({low}, {high}): qualities are 1 to 100, the smaller first")
        self.low, self.high, self.p = low, high, p

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """-> the compressed sample, or the given one. ConfigError where the image is not uint8 RGB."""
        need_rgb(sample["image"], "JPEG", "leave the transform out")
        if sample["image"].dtype != np.uint8:
            raise ConfigError(f"JPEG needs uint8 images, this one is {sample['image'].dtype}; leave the transform out")
        if rng.random() >= self.p:
            return sample
        quality = int(rng.integers(self.low, self.high + 1))
        return recolor(sample, lambda image: compressed(image, quality))


def compressed(image: np.ndarray, quality: int) -> np.ndarray:
    """image: uint8 [H,W,3] RGB -> the same after JPEG of this quality (1..100)."""
    is_written, code = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert is_written, f"JPEG encoder failed on {image.shape}"
    return cv2.cvtColor(cv2.imdecode(code, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
