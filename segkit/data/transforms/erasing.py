"""Transforms that hide parts of the image: CutOut and RandomErasing. Boxes, masks and clicks stay as they are."""

import math
from collections.abc import Sequence

import numpy as np

from segkit.data.transforms.geometry import Size, fill_values, ignore_value, valid_size
from segkit.data.transforms.operations import Fill
from segkit.data.transforms.sizes import as_range, as_size
from segkit.registry import TRANSFORMS, ConfigError
from segkit.types import Sample

Hole = tuple[int, int, int, int]
"""y0, x0, y1, x1 in pixels, y1 and x1 exclusive."""


def erase(sample: Sample, holes: Sequence[Hole], contents: Sequence[np.ndarray], ignore: int | None) -> Sample:
    """contents: per hole what the image shows there, broadcast to [h,w,C]; ignore: label of the holes, None: kept."""
    erased = Sample(**sample)
    erased["image"] = sample["image"].copy()
    for (y0, x0, y1, x1), content in zip(holes, contents):
        erased["image"][y0:y1, x0:x1] = content
    if ignore is not None and sample.get("mask") is not None:
        mask = erased["mask"] = sample["mask"].copy()
        for y0, x0, y1, x1 in holes:
            mask[y0:y1, x0:x1] = ignore_value(mask, ignore)
    return erased


@TRANSFORMS.register
class CutOut:
    """With probability p puts `holes` rectangles of one size at uniformly drawn places (DeVries & Taylor, 2017).

    size: (height, width) in pixels, or ratio: (height, width) as shares of the image; a hole's centre is uniform over
    the image, so holes are cut at the border. fill: image value; ignore: label inside, None leaves the mask as it is.
    """

    def __init__(
        self,
        size: int | Sequence[int] | None = None,
        *,
        ratio: Sequence[float] | None = None,
        holes: int = 1,
        p: float = 0.5,
        fill: Fill = 0,
        ignore: int | None = None,
    ):
        if (size is None) == (ratio is None):
            raise ConfigError("CutOut takes either size (pixels) or ratio (shares of the image)")
        self.size = None if size is None else as_size(size, "CutOut.size")
        self.ratio, self.holes, self.p, self.fill, self.ignore = ratio, holes, p, fill, ignore

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """-> the sample with holes, or the given one."""
        if rng.random() >= self.p:
            return sample
        image = valid_size(sample)
        hole = self.size or tuple(max(round(full * share), 1) for full, share in zip(image, self.ratio))
        holes = [self._place(image, hole, rng) for _ in range(self.holes)]
        values = fill_values(self.fill, sample["image"].shape[2])
        return erase(sample, holes, [values] * len(holes), self.ignore)

    @staticmethod
    def _place(image: Size, hole: Size, rng: np.random.Generator) -> Hole:
        y0, x0 = (int(rng.integers(full)) - part // 2 for full, part in zip(image, hole))
        return max(y0, 0), max(x0, 0), min(y0 + hole[0], image[0]), min(x0 + hole[1], image[1])


@TRANSFORMS.register
class RandomErasing:
    """With probability p replaces one rectangle inside the image (Zhong et al., AAAI 2020, algorithm 1).

    area: range of its share of the image, uniform; ratio: range of height / width, log-uniform; drawn up to 100 times
    until it fits. fill: image value, None for uniform noise of 0..255 per value; ignore: label inside, None leaves the
    mask as it is.
    """

    def __init__(
        self,
        area: tuple[float, float] = (0.02, 0.33),
        ratio: tuple[float, float] = (0.3, 3.3),
        p: float = 0.5,
        *,
        fill: Fill | None = None,
        ignore: int | None = None,
    ):
        self.area = as_range(*area, "RandomErasing.area")
        self.ratio = as_range(*ratio, "RandomErasing.ratio")
        self.p, self.fill, self.ignore = p, fill, ignore

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """-> the sample with the rectangle replaced, or the given one."""
        if rng.random() >= self.p:
            return sample
        height, width = valid_size(sample)
        for _ in range(100):
            pixels = height * width * rng.uniform(*self.area)
            ratio = math.exp(rng.uniform(*np.log(self.ratio)))
            h, w = max(round(math.sqrt(pixels * ratio)), 1), max(round(math.sqrt(pixels / ratio)), 1)
            if h <= height and w <= width:
                y0, x0 = int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1))
                return erase(sample, [(y0, x0, y0 + h, x0 + w)], [self._content(sample, (h, w), rng)], self.ignore)
        return sample

    def _content(self, sample: Sample, size: Size, rng: np.random.Generator) -> np.ndarray:
        channels = sample["image"].shape[2]
        if self.fill is None:
            return rng.integers(0, 256, (*size, channels))
        return fill_values(self.fill, channels)
