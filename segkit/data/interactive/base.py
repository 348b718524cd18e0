"""Base classes and helpers of data sets for interactive segmentation.

A training item is an image with all of its objects, an evaluation item one object of an image. In target masks 1 is
the object, 0 the background, and -1 marks pixels that are neither trained nor scored.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from segkit.data.dataset import Dataset, without_missing
from segkit.data.files.images import read_image
from segkit.data.files.masks import values_of
from segkit.files import DataError
from segkit.types import ClickObject, Meta, Sample

LAYER_FULL = 255
"""Values 1..255 of a uint8 layer are objects, 0 is none of them."""


class Packed(NamedTuple):
    """All objects of an image, packed in layers.

    Args:
        layers: uint8 [H,W,L].
        objects: by id; each says in which layer and by which value the object is stored.
        ignored: (layer, value) of regions that are neither object nor background.
    """

    layers: np.ndarray
    objects: dict[int, ClickObject]
    ignored: list[tuple[int, int]]


class ClickSet(Dataset):
    """Images whose objects are marked by clicks; the classes are background and object."""

    classes = ("background", "object")
    palette = ((0, 0, 0), (230, 159, 0))
    ignore = -1

    def stored(self, index: int) -> np.ndarray:
        """Reads an image as it is stored, uint8 or float32 [H,W,3]."""
        return read_image(self.path(index), **self.reading._asdict())

    def image(self, index: int) -> np.ndarray:
        """Reads an image, uint8 [H,W,3] RGB.

        Pixels without data are filled, and other types rounded.

        Raises:
            DataError: the file cannot be read, or has values outside of 0..255.
        """
        path = self.path(index)
        image, _ = without_missing(self.stored(index), self.nodata, path, is_marked=True)
        if image.dtype == np.uint8:
            return image
        if image.min(initial=0) < 0 or image.max(initial=0) > 255:
            raise DataError(
                f"{path}: values of {image.min():g} to {image.max():g}; images for clicks have values of 0 to 255: "
                f"set scale=({image.min():g}, {image.max():g}) or scale=('p1', 'p99')"
            )
        return image.round().astype(np.uint8)


class ClickTraining(ClickSet):
    """Base of the training sets; a subclass defines `packed`. Samples hold layers, objects and ignored, but no mask."""

    def packed(self, index: int, rng: np.random.Generator) -> Packed:
        """Reads the objects of an image; rng serves random choices, such as whether stuff is kept."""
        raise NotImplementedError(f"{type(self).__name__} gives no packed()")

    def sample(self, index: int, rng: np.random.Generator) -> Sample:
        """Reads an item.

        Returns:
            image uint8 [H,W,3], layers uint8 [H,W,L], objects, ignored and meta with id, path and size (H, W).
        """
        image = self.image(index)
        size = (image.shape[0], image.shape[1])
        layers, objects, ignored = self.packed(index, rng)
        self.check_size(index, layers.shape[:2], size)
        meta = Meta(id=self.ids[index], path=self.path(index), size=size)
        return Sample(image=image, layers=layers, objects=objects, ignored=ignored, meta=meta)


class ClickEvaluation(ClickSet):
    """Base of the evaluation sets: each item is one object of one image and has its own id.

    A subclass defines `mask`: int8 [H,W], 1 object, 0 background, -1 not scored.
    """

    def start(self, index: int) -> np.ndarray | None:
        """Reads the mask that the first click corrects, bool [H,W]; None where clicks start from nothing."""
        return None

    def sample(self, index: int, rng: np.random.Generator) -> Sample:
        """As Dataset.sample; with "start", uint8 [H,W], where clicks start from a mask."""
        sample = super().sample(index, rng)
        start = self.start(index)
        if start is not None:
            self.check_size(index, start.shape, sample["meta"]["size"])
            sample["start"] = start.astype(np.uint8)
        return sample


def no_object(source: str) -> DataError:
    """Builds the error for an evaluation item without a pixel to find; source: file and object, for the message."""
    return DataError(f"{source}: the object has no pixel, so there is nothing to click; remove it from the data set")


def check_share(value: float, name: str) -> float:
    """Returns the value of the argument `name` if it is a probability.

    Raises:
        DataError: it is not in 0..1.
    """
    if not 0 <= value <= 1:
        raise DataError(f"{name} = {value}: must be between 0 and 1")
    return value


def in_layers(labels: np.ndarray, values: Sequence[int]) -> tuple[np.ndarray, list[tuple[int, int]]]:
    """Packs labels of any size into uint8 layers.

    The n-th value becomes n + 1 as long as they fit into one layer of 255; labels that are not listed become 0.

    Args:
        labels: integer [H,W].
        values: labels to keep, none of them 0.

    Returns:
        Layers, uint8 [H,W,L], and the (layer, value) of each label in the order of `values`.
    """
    slots = [(number // LAYER_FULL, number % LAYER_FULL + 1) for number in range(len(values))]
    count = max(1, -(-len(values) // LAYER_FULL))
    if labels.dtype in (np.uint8, np.uint16):
        tables = np.zeros((count, 1 << 8 * labels.dtype.itemsize), np.uint8)
        for label, (layer, value) in zip(values, slots):
            tables[layer, label] = value
        layers = np.stack([table[labels] for table in tables])
    else:
        layers = np.zeros((count, *labels.shape), np.uint8)
        for label, (layer, value) in zip(values, slots):
            layers[layer][labels == label] = value
    return layers.transpose(1, 2, 0), slots


def one_layer(labels: np.ndarray, ignored: Iterable[int] = (), *, source: str = "") -> Packed:
    """Packs a label map, in a single layer where it has at most 255 labels. Objects are numbered from 1 in label order.

    Args:
        labels: integer [H,W], 0 background, every other value one object or region.
        ignored: labels that are neither object nor background.
        source: file, for error messages.
    """
    values, skip = values_of(labels, source), set(ignored)
    layers, slots = in_layers(labels, values)
    kept = [slot for slot, value in zip(slots, values) if value not in skip]
    objects = {number: ClickObject(*slot) for number, slot in enumerate(kept, 1)}
    return Packed(layers, objects, [slot for slot, value in zip(slots, values) if value in skip])


def as_target(labels: np.ndarray, value: int, ignored: Sequence[int] = (), *, source: str = "") -> np.ndarray:
    """Makes the target mask of one object of a label map.

    Args:
        labels: integer [H,W].
        value: label of the object.
        ignored: labels of pixels that are not scored.
        source: file, for error messages.

    Returns:
        int8 [H,W] of 0, 1 and -1.

    Raises:
        DataError: no pixel has the label of the object.
    """
    mask = (labels == value).astype(np.int8)
    if not mask.any():
        raise no_object(f"{source}, object {value}")
    if len(ignored):
        mask[np.isin(labels, list(ignored))] = -1
    return mask
