"""A random crop that holds a given point of the image."""

from collections.abc import Sequence

import numpy as np

from segkit.data.changes import Fill, pad, resized_crop
from segkit.data.crops import RandomScaleCrop
from segkit.data.dataset import IGNORE, DataError
from segkit.data.geometry import image_size
from segkit.data.transforms import as_range, as_size, rescaled
from segkit.registry import TRANSFORMS
from segkit.types import Sample


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
