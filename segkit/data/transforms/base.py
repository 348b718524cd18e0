"""The base class of transforms."""

from collections.abc import Iterable
from typing import Literal, NamedTuple

import numpy as np

from segkit.types import Sample, WithArguments


class ImageFacts(NamedTuple):
    """What the images of a data set hold, by a look at some of them.

    Attributes:
        channels: of each image.
        is_uint8: whether all are uint8; others are float32.
        low, high: smallest and largest value of all.
    """

    channels: int
    is_uint8: bool
    low: float
    high: float


class Transform(WithArguments):
    """Changes a sample; all randomness comes from the generator it is called with.

    Docstrings of transforms name the keys they read and change. The spatial keys are image, mask, layers, clicks, boxes
    and masks, as far as the sample has them: a geometric transform moves all of them together, and meta["valid"] with
    them; objects whose box or mask becomes empty also leave labels and crowd.

    Attributes:
        moves: what happens to the pixels of the image: "nothing", they stay; "whole", they move so that the whole image
            can be brought back; "parts", some get lost or are deformed. The last are refused where images are
            predicted, sections `val` and `test`. A class that moves pixels is made of transforms.operations and
            transforms.warps.affine, which keep account of the way back.
    """

    moves: Literal["nothing", "whole", "parts"] = "nothing"

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Applies the transform.

        Args:
            sample: it stays as it is, and so do its arrays.
            rng: the source of all random choices.

        Returns:
            A new sample, or the given one where nothing changes.
        """
        raise NotImplementedError(f"{type(self).__name__} gives no __call__()")

    def check(self, images: ImageFacts) -> None:
        """Checks before training that images of this kind can be changed.

        A transform that depends on channels or values overrides it; one that holds others passes it on.

        Args:
            images: what the training set holds.

        Raises:
            ConfigError: they cannot; the message names the transform and the way out.
        """


def check_all(transforms: Iterable[object], images: ImageFacts) -> None:
    """Calls `check` of all transforms; functions of the user's own, which have none, pass."""
    for transform in transforms:
        if isinstance(transform, Transform):
            transform.check(images)
