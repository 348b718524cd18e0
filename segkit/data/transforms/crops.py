"""Random and centred crops, and crops that resize: the transforms that set `window`."""

import math
from collections.abc import Sequence

import cv2
import numpy as np

from segkit.data.transforms.geometry import Size, image_size, valid_size
from segkit.data.transforms.operations import Fill, crop, nearest_index, pad, resize, resized_crop, take
from segkit.data.transforms.sizes import as_range, as_size, rescaled
from segkit.files import DataError
from segkit.registry import TRANSFORMS
from segkit.types import IGNORE, Sample

TRIES = 10
"""How often a crop is drawn until its most frequent class is rare enough, as in mmsegmentation."""


def is_mixed(mask: np.ndarray, most: float, ignore: int) -> bool:
    """mask: integer [h,w] -> whether it holds two classes or more and none covers `most` of the labelled pixels."""
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
        place = sample.get("meta", {}).get("path", "image")
        raise DataError(
            f"{place}: {width}x{height} pixels are too few for {name} of {size[1]}x{size[0]} without padding; "
            "set pad=True, make the crop smaller or resize first"
        )


@TRANSFORMS.register
class RandomCrop:
    """Cuts `size` (height, width) at a uniformly drawn place; `window` tells where.

    cat_max_ratio: the place is drawn again, up to 10 times, while one class covers this share or more of the labelled
    pixels or is alone (mmsegmentation's rule, usual value .75; 1.0 turns it off). pad: smaller images are padded at the
    right and bottom with `fill`, their mask with `ignore` (-1 instead of 255 in float masks); without it: an error.
    """

    def __init__(
        self,
        size: int | Sequence[int],
        *,
        cat_max_ratio: float = 1.0,
        ignore: int = IGNORE,
        fill: Fill = 0,
        pad: bool = True,
    ):
        self.size = as_size(size, "RandomCrop.size")
        self.cat_max_ratio, self.ignore, self.fill, self.pad = cat_max_ratio, ignore, fill, pad

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """-> the crop. DataError with the image's path where it is too small and pad is off."""
        if not self.pad:
            _need_size(sample, self.size, "a RandomCrop")
        (height, width), mask = image_size(sample), sample.get("mask")
        tries = TRIES if self.cat_max_ratio < 1 and mask is not None and mask.dtype.kind != "f" else 0
        y, x = draw_origin(rng, (height, width), self.size)
        for _ in range(tries):
            if is_mixed(mask[y : y + self.size[0], x : x + self.size[1]], self.cat_max_ratio, self.ignore):
                break
            y, x = draw_origin(rng, (height, width), self.size)
        return pad(crop(sample, y, x, self.size), self.size, fill=self.fill, ignore=self.ignore)


def draw_origin(rng: np.random.Generator, image: Size, size: Size) -> Size:
    """-> (y, x), uniform over the places where a crop of `size` fits the image; 0 along a side that is too short."""
    return tuple(int(rng.integers(max(full - part, 0) + 1)) for full, part in zip(image, size))


@TRANSFORMS.register
class CenterCrop:
    """Cuts `size` (height, width) from the centre, rounded to the top left; smaller images as in RandomCrop."""

    def __init__(self, size: int | Sequence[int], *, ignore: int = IGNORE, fill: Fill = 0, pad: bool = True):
        self.size = as_size(size, "CenterCrop.size")
        self.ignore, self.fill, self.pad = ignore, fill, pad

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """-> the crop; rng is not used. DataError where the image is too small and pad is off."""
        if not self.pad:
            _need_size(sample, self.size, "a CenterCrop")
        y, x = (max(full - part, 0) // 2 for full, part in zip(image_size(sample), self.size))
        return pad(crop(sample, y, x, self.size), self.size, fill=self.fill, ignore=self.ignore)


@TRANSFORMS.register
class RandomScaleCrop:
    """RandomScale and RandomCrop in one pass: only the pixels of the crop are resized.

    The factor is uniform in [low, high], the place uniform over the scaled image, and both obey the laws of the two
    transforms; the crop then begins on a whole pixel of the unscaled image, at most one of its pixels before the place
    drawn. The result is that of the two transforms at this place (changes.resized_crop says where borders differ).
    centred: smaller images are padded on all sides, as by Pad.
    """

    def __init__(
        self,
        size: int | Sequence[int],
        low: float = 0.5,
        high: float = 2.0,
        *,
        cat_max_ratio: float = 1.0,
        ignore: int = IGNORE,
        fill: Fill = 0,
        centred: bool = False,
    ):
        self.size = as_size(size, "RandomScaleCrop.size")
        self.centred = centred
        self.low, self.high = as_range(low, high, "RandomScaleCrop.low, high")
        self.cat_max_ratio, self.ignore, self.fill = cat_max_ratio, ignore, fill

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """-> the scaled crop, padded where the scaled image is smaller."""
        now = image_size(sample)
        if valid_size(sample) != now:
            sample = crop(sample, 0, 0, valid_size(sample))
            now = image_size(sample)
        scaled = rescaled(now, rng.uniform(self.low, self.high))
        size = min(self.size[0], scaled[0]), min(self.size[1], scaled[1])
        mask = sample.get("mask")
        tries = TRIES if self.cat_max_ratio < 1 and mask is not None and mask.dtype.kind != "f" else 0
        origin = self._origin(rng, now, scaled)
        for _ in range(tries):
            rows, columns = (
                nearest_index(full, new)[:part] + start for full, new, part, start in zip(now, scaled, size, origin)
            )
            if is_mixed(take(mask, rows, columns), self.cat_max_ratio, self.ignore):
                break
            origin = self._origin(rng, now, scaled)
        cut = resized_crop(sample, scaled, origin, size)
        offset = ((self.size[0] - size[0]) // 2, (self.size[1] - size[1]) // 2) if self.centred else (0, 0)
        return pad(cut, self.size, offset=offset, fill=self.fill, ignore=self.ignore)

    def _origin(self, rng: np.random.Generator, now: Size, scaled: Size) -> Size:
        """-> (y, x) of the crop in whole pixels of the unscaled image, rounded down so that the crop fits."""
        place = draw_origin(rng, scaled, self.size)
        return tuple(start * full // new for start, full, new in zip(place, now, scaled))


@TRANSFORMS.register
class RandomResizedCrop:
    """Cuts a rectangle of random area and shape and resizes it to `size` (height, width).

    area: range of the share of the image's area, uniform; ratio: range of width / height, log-uniform. After 10 draws
    that do not fit, the largest centred rectangle within `ratio` is taken (torchvision's rule). Shares > 1 never fit.
    """

    def __init__(
        self,
        size: int | Sequence[int],
        area: tuple[float, float] = (0.08, 1.0),
        ratio: tuple[float, float] = (3 / 4, 4 / 3),
    ):
        self.size = as_size(size, "RandomResizedCrop.size")
        self.area = as_range(*area, "RandomResizedCrop.area")
        self.ratio = as_range(*ratio, "RandomResizedCrop.ratio")

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """-> the resized crop."""
        y, x, size = self._place(image_size(sample), rng)
        return resize(crop(sample, y, x, size), self.size)

    def _place(self, image: Size, rng: np.random.Generator) -> tuple[int, int, Size]:
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


@TRANSFORMS.register
class FocusCrop:
    """RandomScaleCrop whose place is uniform over those that hold the point meta["focus"] and fit the scaled image.

    The point, (y, x) in pixels of the stored image, comes from the sampler (ClassUniform); a sample without one is left
    to RandomScaleCrop, whose arguments these are. Since the point is not carried through other transforms, this one
    stands first. low = high = 1 crops without scaling.
    """

    def __init__(
        self,
        size: int | Sequence[int],
        low: float = 0.5,
        high: float = 2.0,
        *,
        cat_max_ratio: float = 1.0,
        ignore: int = IGNORE,
        fill: Fill = 0,
    ):
        self.size = as_size(size, "FocusCrop.size")
        self.low, self.high = as_range(low, high, "FocusCrop.low, high")
        self.ignore, self.fill = ignore, fill
        self.anywhere = RandomScaleCrop(size, low, high, cat_max_ratio=cat_max_ratio, ignore=ignore, fill=fill)

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """-> the scaled crop, padded where the scaled image is smaller. DataError where another crop or resize comes
        first."""
        focus, now = sample.get("meta", {}).get("focus"), image_size(sample)
        if focus is None:
            return self.anywhere(sample, rng)
        if now != tuple(sample["meta"].get("size", now)) or sample.get("window") is not None:
            raise DataError(
                f"{sample['meta'].get('path', 'image')}: the image was resized or cropped before FocusCrop, which then "
                "misses its point; let FocusCrop be the first of train.transforms"
            )
        scaled = rescaled(now, rng.uniform(self.low, self.high))
        size = min(self.size[0], scaled[0]), min(self.size[1], scaled[1])
        origin = tuple(draw_start(rng, *axis) for axis in zip(focus, now, scaled, size))
        return pad(resized_crop(sample, scaled, origin, size), self.size, fill=self.fill, ignore=self.ignore)


def draw_start(rng: np.random.Generator, focus: int, full: int, scaled: int, part: int) -> int:
    """One axis: full pixels are scaled to `scaled`, of which `part` are cut; focus: a pixel of the unscaled ones
    -> the first unscaled pixel of the crop, uniform over those whose crop fits and holds the middle of the focus (at
    the far border, where starts are rounded down, all but the last of its pixel may be all the crop holds)."""
    last = (scaled - part) * full // scaled
    # the middle of the focus is at (focus + .5 - start) * scaled / full of the crop: 0 or more and below part
    first = max(int(np.floor(focus + 0.5 - part * full / scaled)) + 1, 0)
    return int(rng.integers(min(first, focus, last), min(focus, last) + 1))
