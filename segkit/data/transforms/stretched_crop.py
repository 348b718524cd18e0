"""A crop whose height and width are drawn apart, resized to one size, as FocalClick trains.

Chen et al., CVPR 2022, https://arxiv.org/abs/2204.02574, and their published code.
"""

from typing import Annotated

import numpy as np

from segkit.constraints.named import AnySize, OneOf, PositiveFloat
from segkit.data.transforms.base import Transform
from segkit.data.transforms.geometry import image_size
from segkit.data.transforms.operations import Fill, crop, pad, resize
from segkit.data.transforms.sizes import as_range, as_size
from segkit.registry import TRANSFORMS
from segkit.types import IGNORE, Sample

LAWS = ("uniform", "normal")


@TRANSFORMS.register
class StretchedCrop(Transform):
    """Crops a rectangle of drawn height and width and resizes it to a fixed size, whatever its shape.

    Reads and changes all spatial keys and meta (valid, whole); sets window, the crop's position. Height and width are
    drawn apart, as shares of the image's; a larger crop than the image is padded on both sides.

    Args:
        size: (height, width) of the result in pixels; an int is a square.
        low: smallest share of the image's height and width.
        high: largest share.
        law: "uniform" over the shares, or "normal", cut off at both ends.
        mean, deviation: of the normal law.
        ignore: label of the padding (-1 instead of 255 in float masks).
        fill: image value of the padding, one or one per channel.
        to_right_edge: reproduces the published code, whose crops end at the right edge of the image wherever the drawn
            width ends.
    """

    moves = "parts"

    def __init__(
        self,
        size: AnySize = 256,
        low: PositiveFloat = 0.3,
        high: PositiveFloat = 1.3,
        *,
        law: Annotated[str, OneOf(LAWS)] = "uniform",
        mean: PositiveFloat = 0.8,
        deviation: PositiveFloat = 0.4,
        ignore: int = IGNORE,
        fill: Fill = 0,
        to_right_edge: bool = False,
    ):
        self.size = as_size(size, "StretchedCrop.size")
        self.low, self.high = as_range(low, high, "StretchedCrop.low, high")
        self.law, self.mean, self.deviation = law, mean, deviation
        self.ignore, self.fill, self.to_right_edge = ignore, fill, to_right_edge

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Returns the resized crop.

        Args:
            sample: it stays as it is.
            rng: draws shares, padding and position.
        """
        height, width = image_size(sample)
        rows = max(1, int(height * self._share(rng)))
        columns = max(1, int(width * self._share(rng)))
        outer = max(height, rows), max(width, columns)
        top, left = (int(rng.integers(new - old + 1)) for new, old in zip(outer, (height, width)))
        padded = pad(sample, outer, offset=(top, left), fill=self.fill, ignore=self.ignore)
        y = int(rng.integers(outer[0] - rows + 1))
        x = int(rng.integers(outer[1] - columns + 1))
        end = outer[1] if self.to_right_edge else x + columns
        return resize(crop(padded, y, x, (rows, end - x)), self.size)

    def _share(self, rng: np.random.Generator) -> float:
        if self.law == "uniform":
            return float(rng.uniform(self.low, self.high))
        while True:
            share = float(rng.normal(self.mean, self.deviation))
            if self.low <= share <= self.high:
                return share
