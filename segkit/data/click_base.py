"""What data sets for clicks share: a training item is an image with all its objects, an evaluation item one object.

Value conventions: class 1 is the object, 0 the background, -1 pixels that are neither trained nor scored.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from segkit.data.dataset import DataError, Dataset
from segkit.data.reading import read_image
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


def one_layer(labels: np.ndarray, ignored: Iterable[int] = (), *, place: str = "") -> Packed:
    """labels: integer [H,W], 0 background, every other value one object or region -> Packed with one layer for each
    255 of them. ignored: values that are neither object nor background. Objects are numbered from 1 by their order."""
    values = np.unique(labels)
    values = values[values != 0]
    if len(values) and values[0] < 0:
        raise DataError(f"{place}: label {values[0]}; instances are numbered from 1, 0 is the background")
    skip = set(ignored)
    numbers = np.searchsorted(values, labels) if len(values) else np.zeros(labels.shape, np.int64)
    count = max(1, -(-len(values) // LAYER_FULL))
    layers = np.zeros((*labels.shape, count), np.uint8)
    is_any = labels != 0
    for layer in range(count):
        inside = is_any & (numbers // LAYER_FULL == layer)
        layers[..., layer][inside] = numbers[inside] % LAYER_FULL + 1
    places = [divmod(number, LAYER_FULL) for number in range(len(values))]
    regions = [(layer, value + 1, int(label)) for (layer, value), label in zip(places, values)]
    kept = [(layer, value) for layer, value, label in regions if label not in skip]
    objects = {number: ClickObject(layer, value) for number, (layer, value) in enumerate(kept, 1)}
    return Packed(layers, objects, [(layer, value) for layer, value, label in regions if label in skip])


def as_target(labels: np.ndarray, value: int, ignored: Sequence[int] = (), *, place: str = "") -> np.ndarray:
    """labels: integer [H,W]; value: of the object; ignored: values not scored -> int8 [H,W] of 0, 1 and -1."""
    mask = (labels == value).astype(np.int8)
    if not mask.any():
        raise no_object(f"{place}, object {value}")
    if len(ignored):
        mask[np.isin(labels, list(ignored))] = -1
    return mask


def stacked(masks: Sequence[np.ndarray], size: tuple[int, int]) -> tuple[np.ndarray, list[tuple[int, int]]]:
    """masks: bool [H,W] each, overlapping or not; size: (H, W) -> (layers uint8 [H,W,L], the (layer, value) of each).

    Each mask goes to the first layer where its pixels are free, so that none covers another.
    """
    layers: list[np.ndarray] = []
    used: list[int] = []
    places = []
    for mask in masks:
        free = (n for n, layer in enumerate(layers) if used[n] < LAYER_FULL and not layer[mask].any())
        place = next(free, len(layers))
        if place == len(layers):
            layers.append(np.zeros(size, np.uint8))
            used.append(0)
        used[place] += 1
        layers[place][mask] = used[place]
        places.append((place, used[place]))
    return np.stack(layers, axis=2) if layers else np.zeros((*size, 1), np.uint8), places
