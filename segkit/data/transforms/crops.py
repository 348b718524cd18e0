"""Random and centred crops, and crops that resize: the transforms that set `window`."""

import math

import cv2
import numpy as np

from segkit.constraints.named import AnySize, Fraction, PositiveFloat
from segkit.data.transforms.base import Transform
from segkit.data.transforms.geometry import Size, image_size, valid_size
from segkit.data.transforms.operations import Fill, crop, nearest_index, pad, resize, resized_crop, take
from segkit.data.transforms.sizes import as_range, as_size, rescaled
from segkit.files import DataError
from segkit.registry import TRANSFORMS, ConfigError
from segkit.types import IGNORE, Sample

TRIES = 10
"""How often a crop is drawn until its most frequent class is rare enough, as in mmsegmentation."""


def is_mixed(mask: np.ndarray, most: float, ignore: int) -> bool:
    """Whether a crop holds two classes or more, none of which is too frequent.

    Args:
        mask: integer [h,w].
        most: no class covers this share of the labelled pixels, or more.
        ignore: label that does not count.
    """
    if mask.dtype == np.uint8:
        counts = cv2.calcHist([mask], [0], None, [256], [0, 256]).ravel()
        if 0 <= ignore < 256:
            counts[ignore] = 0
    else:
        values, counts = np.unique(mask, return_counts=True)
        counts = counts[values != ignore]
    counts = counts[counts > 0]
    return len(counts) > 1 and counts.max() < most * counts.sum()


def _need_size(sample: Sample, size: Size, name: str) -> None:
    height, width = image_size(sample)
    if height < size[0] or width < size[1]:
        path = sample.get("meta", {}).get("path", "image")
        raise DataError(
            f"{path}: {width}x{height} pixels are too few for {name} of {size[1]}x{size[0]} without padding; "
            "set pad=True, make the crop smaller or resize first"
        )


def _checked_mask(sample: Sample, cat_max_ratio: float) -> np.ndarray | None:
    """The label map that a crop is chosen by; None where any position will do."""
    mask = sample.get("mask")
    if cat_max_ratio < 1 and mask is not None and mask.ndim == 3:
        raise ConfigError(f"cat_max_ratio = {cat_max_ratio}: needs one class per pixel, and these overlap; set it to 1")
    return mask if cat_max_ratio < 1 and mask is not None and mask.dtype.kind != "f" else None


@TRANSFORMS.register
class RandomCrop(Transform):
    """Crops the image at a random position.

    Reads and changes all spatial keys and meta (valid, whole); sets window, the crop's position.

    Args:
        size: (height, width) of the crop in pixels; an int is a square.
        cat_max_ratio: draws the position again, up to 10 times, while one class covers at least this share of the
            labelled pixels or is the only one (mmsegmentation's rule, usually 0.75). 1.0 turns it off.
        ignore: label of the padding (-1 instead of 255 in float masks).
        fill: image value of the padding, one or one per channel.
        pad: pads smaller images at the right and bottom; without it they are an error.
    """

    moves = "parts"

    def __init__(
        self,
        size: AnySize,
        *,
        cat_max_ratio: Fraction = 1.0,
        ignore: int = IGNORE,
        fill: Fill = 0,
        pad: bool = True,
    ):
        self.size = as_size(size, "RandomCrop.size")
        self.cat_max_ratio, self.ignore, self.fill, self.pad = cat_max_ratio, ignore, fill, pad

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Returns the crop.

        Args:
            sample: it stays as it is.
            rng: draws the position.

        Raises:
            DataError: with the image's path where it is too small and `pad` is off.
        """
        if not self.pad:
            _need_size(sample, self.size, "a RandomCrop")
        image, mask = image_size(sample), _checked_mask(sample, self.cat_max_ratio)
        y, x = draw_origin(rng, image, self.size)
        for _ in range(TRIES):
            if mask is None:
                break
            if is_mixed(mask[y : y + self.size[0], x : x + self.size[1]], self.cat_max_ratio, self.ignore):
                break
            y, x = draw_origin(rng, image, self.size)
        return pad(crop(sample, y, x, self.size), self.size, fill=self.fill, ignore=self.ignore)


def draw_origin(rng: np.random.Generator, image: Size, size: Size) -> Size:
    """Draws the position of a crop, uniform over those where it fits the image.

    Args:
        rng: draws y, then x.
        image: (H, W) in pixels.
        size: (h, w) of the crop.

    Returns:
        (y, x) of the crop's first pixel; 0 along a side that is too short.
    """
    y = int(rng.integers(max(image[0] - size[0], 0) + 1))
    x = int(rng.integers(max(image[1] - size[1], 0) + 1))
    return y, x


@TRANSFORMS.register
class CenterCrop(Transform):
    """Crops the centre of the image, rounded to the top left.

    Reads and changes all spatial keys and meta (valid, whole); sets window, the crop's position.

    Args:
        size: (height, width) of the crop in pixels; an int is a square.
        ignore: label of the padding (-1 instead of 255 in float masks).
        fill: image value of the padding, one or one per channel.
        pad: pads smaller images at the right and bottom; without it they are an error.
    """

    moves = "parts"

    def __init__(self, size: AnySize, *, ignore: int = IGNORE, fill: Fill = 0, pad: bool = True):
        self.size = as_size(size, "CenterCrop.size")
        self.ignore, self.fill, self.pad = ignore, fill, pad

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Returns the crop.

        Args:
            sample: it stays as it is.
            rng: not used.

        Raises:
            DataError: with the image's path where it is too small and `pad` is off.
        """
        if not self.pad:
            _need_size(sample, self.size, "a CenterCrop")
        height, width = image_size(sample)
        y, x = max(height - self.size[0], 0) // 2, max(width - self.size[1], 0) // 2
        return pad(crop(sample, y, x, self.size), self.size, fill=self.fill, ignore=self.ignore)


@TRANSFORMS.register
class RandomScaleCrop(Transform):
    """RandomScale and RandomCrop in one pass: only the pixels of the crop are resized.

    Reads and changes all spatial keys and meta (valid, whole); sets window, the crop's position in the scaled image.

    The factor is uniform in [low, high] and the position uniform over the scaled image, both as the two transforms draw
    them; the crop then begins on a whole pixel of the unscaled image, at most one of its pixels before the position
    drawn. The result is that of the two transforms at this position (operations.resized_crop says where borders
    differ). Padding of an earlier transform is cut off first.

    Args:
        size: (height, width) of the crop in pixels; an int is a square.
        low: smallest factor.
        high: largest factor.
        cat_max_ratio: as for RandomCrop.
        ignore: label of the padding (-1 instead of 255 in float masks).
        fill: image value of the padding, one or one per channel.
        centred: pads smaller images on all sides, as Pad does, instead of at the right and bottom.
    """

    moves = "parts"

    def __init__(
        self,
        size: AnySize,
        low: PositiveFloat = 0.5,
        high: PositiveFloat = 2.0,
        *,
        cat_max_ratio: Fraction = 1.0,
        ignore: int = IGNORE,
        fill: Fill = 0,
        centred: bool = False,
    ):
        self.size = as_size(size, "RandomScaleCrop.size")
        self.centred = centred
        self.low, self.high = as_range(low, high, "RandomScaleCrop.low, high")
        self.cat_max_ratio, self.ignore, self.fill = cat_max_ratio, ignore, fill

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Returns the scaled crop, padded where the scaled image is smaller."""
        image = image_size(sample)
        if valid_size(sample) != image:
            sample = crop(sample, 0, 0, valid_size(sample))
            image = image_size(sample)
        scaled = rescaled(image, rng.uniform(self.low, self.high))
        size = min(self.size[0], scaled[0]), min(self.size[1], scaled[1])
        mask = _checked_mask(sample, self.cat_max_ratio)
        origin = self._origin(rng, image, scaled)
        for _ in range(TRIES):
            if mask is None:
                break
            rows = nearest_index(image[0], scaled[0])[: size[0]] + origin[0]
            columns = nearest_index(image[1], scaled[1])[: size[1]] + origin[1]
            if is_mixed(take(mask, rows, columns), self.cat_max_ratio, self.ignore):
                break
            origin = self._origin(rng, image, scaled)
        cropped = resized_crop(sample, scaled, origin, size)
        offset = ((self.size[0] - size[0]) // 2, (self.size[1] - size[1]) // 2) if self.centred else (0, 0)
        return pad(cropped, self.size, offset=offset, fill=self.fill, ignore=self.ignore)

    def _origin(self, rng: np.random.Generator, image: Size, scaled: Size) -> Size:
        """(y, x) of the crop in whole pixels of the unscaled image, rounded down so that the crop fits."""
        y, x = draw_origin(rng, scaled, self.size)
        return y * image[0] // scaled[0], x * image[1] // scaled[1]


@TRANSFORMS.register
class RandomResizedCrop(Transform):
    """Crops a rectangle of random area and shape and resizes it (torchvision's rule).

    Reads and changes all spatial keys and meta (valid, whole); sets window, the crop's position in the resized image.
    After 10 draws that do not fit, the largest centred rectangle within `ratio` is taken.

    Args:
        size: (height, width) of the result in pixels; an int is a square.
        area: range of the share of the image's area, uniform. Shares > 1 never fit.
        ratio: range of width / height, log-uniform.
    """

    moves = "parts"

    def __init__(
        self,
        size: AnySize,
        area: tuple[PositiveFloat, PositiveFloat] = (0.08, 1.0),
        ratio: tuple[PositiveFloat, PositiveFloat] = (3 / 4, 4 / 3),
    ):
        self.size = as_size(size, "RandomResizedCrop.size")
        self.area = as_range(*area, "RandomResizedCrop.area")
        self.ratio = as_range(*ratio, "RandomResizedCrop.ratio")

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Returns the resized crop."""
        y, x, size = self._draw(image_size(sample), rng)
        return resize(crop(sample, y, x, size), self.size)

    def _draw(self, image: Size, rng: np.random.Generator) -> tuple[int, int, Size]:
        """First row, first column and (h, w) of the rectangle."""
        height, width = image
        for _ in range(TRIES):
            pixels = height * width * rng.uniform(*self.area)
            ratio = math.exp(rng.uniform(*np.log(self.ratio)))
            size = round(math.sqrt(pixels / ratio)), round(math.sqrt(pixels * ratio))
            if 0 < size[0] <= height and 0 < size[1] <= width:
                return *draw_origin(rng, image, size), size
        ratio = min(max(width / height, self.ratio[0]), self.ratio[1])
        size = min(height, round(width / ratio)), min(width, round(height * ratio))
        return (height - size[0]) // 2, (width - size[1]) // 2, size
