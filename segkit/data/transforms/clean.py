"""The image before the transforms of color, for a teacher that sees it beside a student that sees them."""

import numpy as np

from segkit.data.transforms.base import Transform
from segkit.registry import TRANSFORMS
from segkit.types import Sample


@TRANSFORMS.register
class KeepClean(Transform):
    """Keeps the image as it is now, for a teacher or for losses that compare colors.

    Reads image; sets clean, the same array. It stands before the transforms of color. What moves pixels after it moves
    both alike; transforms that cut or erase parts of the image alone leave clean whole.
    """

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Returns the sample with clean, uint8 or float32 [H,W,C]; rng is not used."""
        changed = Sample(**sample)
        changed["clean"] = sample["image"]
        return changed
