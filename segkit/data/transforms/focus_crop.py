"""A crop around a point of the image that the sampler has chosen."""

import numpy as np

from segkit.constraints.named import AnySize, Fraction, PositiveFloat
from segkit.data.transforms.base import Transform
from segkit.data.transforms.crops import RandomScaleCrop
from segkit.data.transforms.geometry import image_size
from segkit.data.transforms.operations import Fill, pad, resized_crop
from segkit.data.transforms.sizes import as_range, as_size, rescaled
from segkit.files import DataError
from segkit.registry import TRANSFORMS
from segkit.types import IGNORE, Sample


@TRANSFORMS.register
class FocusCrop(Transform):
    """Scales the image and crops it around a point that the sampler has chosen.

    Reads and changes all spatial keys and meta (valid, whole); reads meta (focus, size) and window too; sets window,
    the crop's position in the scaled image.

    The position is uniform over those where the crop holds the point and fits the scaled image. The point,
    meta["focus"] = (y, x) in pixels of the stored image, comes from the sampler (ClassUniform); samples without one are
    cropped by RandomScaleCrop, whose arguments these are. Since the point is not carried through other transforms, this
    one stands first. low = high = 1 crops without scaling.

    Args:
        size: (height, width) of the crop in pixels; an int is a square.
        low: smallest factor.
        high: largest factor.
        cat_max_ratio: as for RandomCrop, for samples without a point.
        ignore: label of the padding (-1 instead of 255 in float masks).
        fill: image value of the padding, one or one per channel.
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
    ):
        self.size = as_size(size, "FocusCrop.size")
        self.low, self.high = as_range(low, high, "FocusCrop.low, high")
        self.cat_max_ratio, self.ignore, self.fill = cat_max_ratio, ignore, fill
        self._anywhere = RandomScaleCrop(size, low, high, cat_max_ratio=cat_max_ratio, ignore=ignore, fill=fill)

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Returns the scaled crop, padded where the scaled image is smaller.

        Args:
            sample: it stays as it is.
            rng: draws the factor and the position.

        Raises:
            DataError: where another crop or resize comes first.
        """
        focus, image = sample.get("meta", {}).get("focus"), image_size(sample)
        if focus is None:
            return self._anywhere(sample, rng)
        if image != tuple(sample["meta"].get("size", image)) or sample.get("window") is not None:
            raise DataError(
                f"{sample['meta'].get('path', 'image')}: the image was resized or cropped before FocusCrop, which then "
                "misses its point; let FocusCrop be the first of train.transforms"
            )
        scaled = rescaled(image, rng.uniform(self.low, self.high))
        size = min(self.size[0], scaled[0]), min(self.size[1], scaled[1])
        y = draw_start(rng, focus[0], image[0], scaled[0], size[0])
        x = draw_start(rng, focus[1], image[1], scaled[1], size[1])
        return pad(resized_crop(sample, scaled, (y, x), size), self.size, fill=self.fill, ignore=self.ignore)


def draw_start(rng: np.random.Generator, focus: int, full: int, scaled: int, cropped: int) -> int:
    """Draws where a crop begins along one axis, so that it holds a given pixel.

    Args:
        rng: draws uniformly over the starts where the crop fits and holds the middle of the focus. At the far border,
            where starts are rounded down, it may miss the last of the scaled pixels that the focus becomes.
        focus: a pixel of the unscaled axis.
        full: pixels of the unscaled axis.
        scaled: pixels it is scaled to.
        cropped: pixels of the scaled axis that the crop has.

    Returns:
        The first unscaled pixel of the crop.
    """
    last = (scaled - cropped) * full // scaled
    # the middle of the focus is at (focus + .5 - start) * scaled / full of the crop: 0 or more and below cropped
    first = max(int(np.floor(focus + 0.5 - cropped * full / scaled)) + 1, 0)
    return int(rng.integers(min(first, focus, last), min(focus, last) + 1))
