"""Padding by mirror images of the border."""

import cv2
import numpy as np

from segkit.constraints.named import AnySize, PositiveInt
from segkit.data.transforms.base import Transform
from segkit.data.transforms.geometry import Change, by_channels, image_size, move
from segkit.data.transforms.sizes import as_size
from segkit.files import DataError
from segkit.registry import TRANSFORMS
from segkit.types import Sample


@TRANSFORMS.register
class ReflectPad(Transform):
    """Pads by mirroring the image at its border, whose pixels are not repeated; labels are mirrored too.

    Reads and changes all spatial keys and meta["valid"]; window stays. The padding counts as part of the image: it is
    trained, and predictions are cut back to the image. Boxes enclose the mirrored masks where there are any; clicks
    are not mirrored.

    Args:
        size: least (height, width); None for the image's.
        divisor: both sides become multiples of it.
        centred: half of the padding goes to the top and left (the smaller half), else all to the bottom and right.

    Raises:
        DataError: more is missing on a side than the image has to mirror.
    """

    moves = "whole"

    def __init__(self, size: AnySize | None = None, *, divisor: PositiveInt = 1, centred: bool = True):
        self.size = (1, 1) if size is None else as_size(size, "ReflectPad.size")
        self.divisor, self.centred = divisor, centred

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Returns the padded sample, or the given one where nothing is missing; rng is not used."""
        height, width = image_size(sample)
        padded = [-(-max(a, b) // self.divisor) * self.divisor for a, b in zip((height, width), self.size)]
        missing = (padded[0] - height, padded[1] - width)
        if missing == (0, 0):
            return sample
        top, left = (missing[0] // 2, missing[1] // 2) if self.centred else (0, 0)
        bottom, right = missing[0] - top, missing[1] - left
        if max(top, bottom) >= height or max(left, right) >= width:
            path = sample.get("meta", {}).get("path", "image")
            raise DataError(
                f"{path}: {width}x{height} pixels cannot be mirrored to {padded[1]}x{padded[0]}; resize the image first"
            )

        def mirrored(array: np.ndarray) -> np.ndarray:
            return cv2.copyMakeBorder(array, top, bottom, left, right, cv2.BORDER_REFLECT_101)

        change = Change(
            image=lambda image: by_channels(lambda group, _: mirrored(group), image),
            labels=lambda labels, outside: mirrored(labels),
            points=lambda points: points + (left, top),
            size=(padded[0], padded[1]),
            valid=(padded[0], padded[1]),
            keeps_axes=False,  # boxes are made anew from the masks, which are mirrored
        )
        return move(sample, change)
