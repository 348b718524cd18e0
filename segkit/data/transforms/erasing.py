"""Transforms that hide parts of the image: CutOut and RandomErasing. Boxes, masks and clicks stay as they are."""

import math
from collections.abc import Sequence

import numpy as np

from segkit.constraints.named import AnySize, Fraction, PositiveFloat, PositiveInt
from segkit.data.transforms.base import ImageFacts, Transform
from segkit.data.transforms.color_operations import check_range
from segkit.data.transforms.geometry import Size, fill_values, ignore_value, valid_size
from segkit.data.transforms.operations import Fill
from segkit.data.transforms.sizes import as_range, as_size
from segkit.registry import TRANSFORMS, ConfigError
from segkit.types import Sample

Hole = tuple[int, int, int, int]
"""y0, x0, y1, x1 in pixels, y1 and x1 exclusive."""


def erase(sample: Sample, holes: Sequence[Hole], *, contents: Sequence[np.ndarray], ignore: int | None) -> Sample:
    """Replaces rectangles of the image.

    Args:
        sample: it stays as it is.
        holes: the rectangles.
        contents: for each hole what the image shows there, broadcast to [h,w,C].
        ignore: label of the holes; None leaves the mask.

    Returns:
        A new sample.
    """
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
class CutOut(Transform):
    """Cuts rectangles of one size out of the image at random positions, with probability p.

    Reads image, mask and meta["valid"]; changes image, and mask where `ignore` is set. A hole's centre is uniform over
    the image, so holes are clipped at the border. DeVries and Taylor, 2017.

    Args:
        size: (height, width) of a hole in pixels.
        ratio: (height, width) of a hole as shares of the image, in place of `size`.
        holes: how many.
        p: probability.
        fill: image value inside, one or one per channel.
        ignore: label inside; None leaves the mask as it is.

    Raises:
        ConfigError: where both or none of `size` and `ratio` are given.
    """

    def __init__(
        self,
        size: AnySize | None = None,
        *,
        ratio: Sequence[PositiveFloat] | None = None,
        holes: PositiveInt = 1,
        p: Fraction = 0.5,
        fill: Fill = 0,
        ignore: int | None = None,
    ):
        if (size is None) == (ratio is None):
            raise ConfigError("CutOut takes either size (pixels) or ratio (shares of the image)")
        self.size = None if size is None else as_size(size, "CutOut.size")
        self.ratio = ratio
        self.holes, self.p, self.fill, self.ignore = holes, p, fill, ignore

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Returns the sample with holes, or the given one."""
        if rng.random() >= self.p:
            return sample
        image = valid_size(sample)
        size = self._size(image)
        holes = [self._draw(image, size, rng) for _ in range(self.holes)]
        values = fill_values(self.fill, sample["image"].shape[2])
        return erase(sample, holes, contents=[values] * len(holes), ignore=self.ignore)

    def _size(self, image: Size) -> Size:
        """Of the holes, in pixels."""
        if self.size is not None:
            return self.size
        assert self.ratio is not None  # the constructor takes one of the two
        return max(round(image[0] * self.ratio[0]), 1), max(round(image[1] * self.ratio[1]), 1)

    @staticmethod
    def _draw(image: Size, size: Size, rng: np.random.Generator) -> Hole:
        y0 = int(rng.integers(image[0])) - size[0] // 2
        x0 = int(rng.integers(image[1])) - size[1] // 2
        return max(y0, 0), max(x0, 0), min(y0 + size[0], image[0]), min(x0 + size[1], image[1])


@TRANSFORMS.register
class RandomErasing(Transform):
    """Replaces one rectangle inside the image by noise or a value, with probability p.

    Reads image, mask and meta["valid"]; changes image, and mask where `ignore` is set. The rectangle is drawn up to 100
    times until it fits. Zhong et al., AAAI 2020, algorithm 1.

    Args:
        area: range of the rectangle's share of the image, uniform.
        ratio: range of its height / width, log-uniform.
        p: probability.
        fill: image value inside, one or one per channel; None for noise, uniform in 0..255 per value.
        ignore: label inside; None leaves the mask as it is.
    """

    def __init__(
        self,
        area: tuple[Fraction, Fraction] = (0.02, 0.33),
        ratio: tuple[PositiveFloat, PositiveFloat] = (0.3, 3.3),
        p: Fraction = 0.5,
        *,
        fill: Fill | None = None,
        ignore: int | None = None,
    ):
        self.area = as_range(*area, "RandomErasing.area")
        self.ratio = as_range(*ratio, "RandomErasing.ratio")
        self.p, self.fill, self.ignore = p, fill, ignore

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Returns the sample with the rectangle replaced, or the given one."""
        if rng.random() >= self.p:
            return sample
        height, width = valid_size(sample)
        for _ in range(100):
            pixels = height * width * rng.uniform(*self.area)
            ratio = math.exp(rng.uniform(*np.log(self.ratio)))
            h, w = max(round(math.sqrt(pixels * ratio)), 1), max(round(math.sqrt(pixels / ratio)), 1)
            if h <= height and w <= width:
                y0, x0 = int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1))
                content = self._content(sample, (h, w), rng)
                return erase(sample, [(y0, x0, y0 + h, x0 + w)], contents=[content], ignore=self.ignore)
        return sample

    def check(self, images: ImageFacts) -> None:
        if self.fill is None:
            check_range(images, type(self).__name__)

    def _content(self, sample: Sample, size: Size, rng: np.random.Generator) -> np.ndarray:
        """The rectangle's values, broadcast to [h,w,C]."""
        channels = sample["image"].shape[2]
        if self.fill is None:
            return rng.integers(0, 256, (*size, channels))
        return fill_values(self.fill, channels)
