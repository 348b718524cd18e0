"""Transforms of images that are predicted: the way from the network's image back to the stored one must be known.

`Meta.matrix` says where the pixels of the stored image went; ops.resizing.to_original brings predictions back by it.
"""

from collections.abc import Callable, Sequence
from types import FunctionType
from typing import Protocol, runtime_checkable

import numpy as np

from segkit.data.transforms.base import Transform
from segkit.data.transforms.geometry import image_size, valid_size
from segkit.files import DataError
from segkit.ops.resizing import box_in_network
from segkit.registry import ConfigError
from segkit.types import Meta, Sample

ROUNDING = 0.5
"""Pixels that a scaled image may reach beyond its valid part, whose sides are rounded."""


@runtime_checkable
class _Outer(Protocol):
    """A transform made of transforms."""

    transforms: Sequence[Callable]


def check_way_back(transforms: Sequence[Callable], at: str, *, needs_stored: bool = False) -> None:
    """Checks that predictions can be brought back to the stored image.

    Args:
        transforms: of section `val` or `test`.
        at: their config path.
        needs_stored: whether pixels must stay where they are stored, as for clicks.

    Raises:
        ConfigError: a transform cuts or deforms images, or moves pixels that must stay.
    """
    for i, transform in enumerate(transforms):
        name = type(transform).__name__
        if isinstance(transform, _Outer):
            check_way_back(transform.transforms, f"{at}.{i}.transforms", needs_stored=needs_stored)
        if not isinstance(transform, Transform):
            continue
        if transform.moves == "parts":
            raise ConfigError(
                f"{at}.{i} = {name}: cuts or deforms the image, so that its prediction could not be brought back to "
                "the whole stored image; here an image may be resized, padded, flipped or recolored "
                "(inference.mode = 'slide' predicts a large one in windows)"
            )
        if needs_stored and transform.moves != "nothing":
            raise ConfigError(
                f"{at}.{i} = {name}: moves the pixels of the image, and clicks are made on it as it is stored; remove "
                "it (inference.clicks.zoom and .limit say at which size the network sees the image)"
            )


def for_network(sample: Sample, transforms: Sequence[Callable], rng: np.random.Generator) -> Sample:
    """Transforms an image that is predicted, and keeps account of where its pixels go.

    Args:
        sample: image and meta of a stored image.
        transforms: applied in order.
        rng: for all of them.

    Returns:
        The image for the network, with meta["matrix"].

    Raises:
        DataError: the way back is not known, or parts of the image are lost.
    """
    sample = Sample(**sample)
    sample["meta"] = Meta(**{**sample["meta"], "matrix": _from_size(sample)})
    for transform in transforms:
        before = sample
        sample = transform(before, rng)
        matrix = sample["meta"].get("matrix")
        is_same = matrix is before["meta"].get("matrix")
        if matrix is None or (is_same and image_size(sample) != image_size(before)):
            raise DataError(
                f"{_path(sample)}: {_name(transform)} changes the image's size and does not say where its pixels go, "
                "so that predictions could not be brought back; build it from segkit.data.transforms.operations "
                "(resize, pad, flip)"
            )
        if not is_same and not _is_whole(sample):
            raise DataError(
                f"{_path(sample)}: {_name(transform)} cuts or deforms the image, so that predictions could not be "
                "brought back; resize or pad it, or predict it in windows (inference.mode = 'slide')"
            )
    return sample


def _from_size(sample: Sample) -> np.ndarray:
    """The matrix before any transform: that of a resize where meta["size"] is not the image's size."""
    (height, width), (height0, width0) = image_size(sample), sample["meta"]["size"]
    return np.array([[width / width0, 0.0, 0.0], [0.0, height / height0, 0.0]])


def _is_whole(sample: Sample) -> bool:
    """Whether the stored image lies upright and whole in the valid part."""
    meta = sample["meta"]
    box = box_in_network(meta["matrix"], meta["size"])
    if box is None:
        return False
    height, width = valid_size(sample)
    x0, y0, x1, y1 = box
    return min(x0, y0) > -ROUNDING and x1 < width + ROUNDING + 1e-3 and y1 < height + ROUNDING + 1e-3


def _path(sample: Sample) -> str:
    return sample["meta"].get("path", "image")


def _name(transform: Callable) -> str:
    return transform.__name__ if isinstance(transform, FunctionType) else type(transform).__name__
