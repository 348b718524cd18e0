"""What data sets for clicks share: a training item is an image with all its objects, an evaluation item one object.

Value conventions: class 1 is the object, 0 the background, -1 pixels that are neither trained nor scored.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from segkit.data.dataset import Dataset
from segkit.data.files.images import read_image
from segkit.data.files.masks import values_of
from segkit.files import DataError
from segkit.types import ClickObject, Sample

LAYER_FULL = 255
"""Values 1..255 of a uint8 layer are objects, 0 is none of them."""


class Packed(NamedTuple):
    """All objects of an image. layers: uint8 [H,W,L]; objects: id -> ClickObject; ignored: (layer, value) of regions
    that are neither object nor background."""

    layers: np.ndarray
    objects: dict[int, ClickObject]
    ignored: list[tuple[int, int]]


class ClickSet(Dataset):
    """Images whose objects are marked by clicks, of the classes background and object."""

    classes = ("background", "object")
    palette = ((0, 0, 0), (230, 159, 0))
    ignore = -1

    def image(self, index: int) -> np.ndarray:
        """-> uint8 [H,W,3] RGB."""
        image = read_image(self.path(index))
        return image if image.dtype == np.uint8 else image.round().astype(np.uint8)


class ClickTraining(ClickSet):
    """A ClickSet to learn from. A subclass gives `packed`; its samples hold layers, objects and ignored, no mask."""

    def packed(self, index: int, rng: np.random.Generator) -> Packed:
        """-> the objects of an image; rng serves random choices (stuff kept or not)."""
        raise NotImplementedError(f"{type(self).__name__} gives no packed()")

    def sample(self, index: int, rng: np.random.Generator) -> Sample:
        """-> image uint8 [H,W,3], layers uint8 [H,W,L], objects, ignored and meta(id, path, size=(H,W))."""
        image = self.image(index)
        size = image.shape[:2]
        layers, objects, ignored = self.packed(index, rng)
        self.check_size(index, layers.shape[:2], size)
        meta = dict(id=self.ids[index], path=self.path(index), size=size)
        return Sample(image=image, layers=layers, objects=objects, ignored=ignored, meta=meta)


class ClickEvaluation(ClickSet):
    """A ClickSet to score on: each item is one object of one image, with an id of its own. A subclass gives
    `mask`: int8 [H,W], 1 the object, 0 the rest, -1 not scored."""


def no_object(place: str) -> DataError:
    """The error for an evaluation item without a pixel to find."""
    return DataError(f"{place}: the object has no pixel, so there is nothing to click; take it out of the data set")


def check_share(value: float, name: str) -> float:
    """value, where it is a probability; otherwise DataError."""
    if not 0 <= value <= 1:
        raise DataError(f"{name} = {value}: a share is between 0 and 1")
    return value


def in_layers(labels: np.ndarray, values: Sequence[int]) -> tuple[np.ndarray, list[tuple[int, int]]]:
    """labels: integer [H,W]; values: those to keep, none of them 0 -> (layers uint8 [H,W,L], (layer, value) of each).

    The n-th value becomes n + 1 while they fit into one layer; other labels become 0.
    """
    places = [(number // LAYER_FULL, number % LAYER_FULL + 1) for number in range(len(values))]
    count = max(1, -(-len(values) // LAYER_FULL))
    if labels.dtype in (np.uint8, np.uint16):
        tables = np.zeros((count, 1 << 8 * labels.dtype.itemsize), np.uint8)
        for value, (layer, own) in zip(values, places):
            tables[layer, value] = own
        layers = np.stack([table[labels] for table in tables])
    else:
        layers = np.zeros((count, *labels.shape), np.uint8)
        for value, (layer, own) in zip(values, places):
            layers[layer][labels == value] = own
    return layers.transpose(1, 2, 0), places


def one_layer(labels: np.ndarray, ignored: Iterable[int] = (), *, place: str = "") -> Packed:
    """labels: integer [H,W], 0 background, every other value one object or region -> Packed, in one layer where they
    are at most 255. ignored: values that are neither object nor background. Objects are numbered from 1 by their order.
    """
    values, skip = values_of(labels, place), set(ignored)
    layers, places = in_layers(labels, values)
    kept = [place for place, value in zip(places, values) if value not in skip]
    objects = {number: ClickObject(*place) for number, place in enumerate(kept, 1)}
    return Packed(layers, objects, [place for place, value in zip(places, values) if value in skip])


def as_target(labels: np.ndarray, value: int, ignored: Sequence[int] = (), *, place: str = "") -> np.ndarray:
    """labels: integer [H,W]; value: of the object; ignored: values not scored -> int8 [H,W] of 0, 1 and -1."""
    mask = (labels == value).astype(np.int8)
    if not mask.any():
        raise no_object(f"{place}, object {value}")
    if len(ignored):
        mask[np.isin(labels, list(ignored))] = -1
    return mask
