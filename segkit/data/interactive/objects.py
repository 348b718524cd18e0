"""The objects of a click sample: their pixels, areas and part hierarchy, and removing some of them.

A sample holds `layers` uint8 [H,W,L], `objects` (ClickObject by id) and `ignored` ((layer, value) of regions that are
neither object nor background). Functions return new dictionaries and samples and never write to their arguments.
"""

from collections.abc import Iterable

import cv2
import numpy as np

from segkit.types import ClickObject, Sample

EXACT_FLOAT = 2**24
"""Pixels up to which OpenCV's float32 histogram counts exactly."""


def pixels_of(sample: Sample, object_id: int) -> np.ndarray:
    """Pixels of one object, bool [H,W]; ignored pixels among them are included."""
    layer, value = sample["objects"][object_id][:2]
    return sample["layers"][:, :, layer] == value


def ignored_pixels(sample: Sample) -> np.ndarray:
    """Pixels of the regions that are neither object nor background, bool [H,W]."""
    found = np.zeros(sample["layers"].shape[:2], bool)
    for layer, value in sample.get("ignored", ()):
        found |= sample["layers"][:, :, layer] == value
    return found


def marked(sample: Sample, pixels: np.ndarray) -> np.ndarray:
    """Makes a target mask of chosen pixels.

    Args:
        sample: gives the ignored regions.
        pixels: bool [H,W], the pixels to segment.

    Returns:
        int8 [H,W]: 1 on the pixels, -1 on the sample's ignored regions (also on the pixels), 0 elsewhere.
    """
    mask = pixels.astype(np.int8)
    if sample.get("ignored"):
        mask[ignored_pixels(sample)] = -1
    return mask


def background(sample: Sample) -> np.ndarray:
    """Pixels without a label in any layer, bool [H,W]."""
    layers = sample["layers"]
    found = np.zeros(layers.shape[:2], np.uint8)
    for layer in range(layers.shape[2]):
        found |= layers[:, :, layer]
    return found == 0


def histograms(layers: np.ndarray) -> np.ndarray:
    """Counts the pixels of each value in each layer; uint8 [H,W,L] gives int64 [L,256]."""
    height, width, num_layers = layers.shape
    counts = np.zeros((num_layers, 256), np.int64)
    for layer in range(num_layers):
        values = np.ascontiguousarray(layers[:, :, layer])
        if height * width < EXACT_FLOAT:
            counts[layer] = cv2.calcHist([values], [0], None, [256], [0, 256]).ravel()
        else:
            counts[layer] = np.bincount(values.ravel(), minlength=256)
    return counts


def object_areas(sample: Sample, counts: np.ndarray | None = None) -> dict[int, int]:
    """Area of each object in pixels.

    Args:
        sample: with layers and objects.
        counts: `histograms` of the layers, where they are known already.

    Returns:
        Number of pixels by object id, 0 for an object that is not (or no longer) in the image.
    """
    if counts is None:
        counts = histograms(sample["layers"])
    return {object_id: int(counts[item.layer, item.value]) for object_id, item in sample["objects"].items()}


def without_objects(objects: dict[int, ClickObject], gone: Iterable[int]) -> dict[int, ClickObject]:
    """Removes objects from the hierarchy.

    Args:
        objects: by id.
        gone: ids to remove.

    Returns:
        The remaining objects; the children of a removed one belong to its parent.
    """
    left = dict(objects)
    for object_id in gone:
        removed = left.pop(object_id)
        for child in removed.children:
            if child in left:
                left[child] = left[child]._replace(parent=removed.parent)
        if removed.parent in left:
            parent = left[removed.parent]
            others = tuple(child for child in parent.children if child != object_id)
            left[removed.parent] = parent._replace(children=others + removed.children)
    return left


def large_objects(sample: Sample, min_area: int) -> Sample:
    """Removes the objects of fewer than `min_area` pixels.

    Their labels stay in the layers, so that their pixels do not become background.
    """
    small = [object_id for object_id, area in object_areas(sample).items() if area < min_area]
    return Sample(**{**sample, "objects": without_objects(sample["objects"], small)}) if small else sample


def present_objects(sample: Sample) -> Sample:
    """Removes the objects without a pixel in the image."""
    return large_objects(sample, 1)


def used_layers(sample: Sample) -> Sample:
    """Drops the layers that hold neither objects nor ignored regions; one layer stays where all would go."""
    objects, ignored = sample["objects"], sample.get("ignored", ())
    used = sorted({item.layer for item in objects.values()} | {layer for layer, _ in ignored}) or [0]
    if len(used) == sample["layers"].shape[2]:
        return sample
    new_index = {layer: index for index, layer in enumerate(used)}
    kept = Sample(**sample)
    # one layer after the other in memory, since they are read one at a time
    kept["layers"] = np.stack([sample["layers"][:, :, layer] for layer in used]).transpose(1, 2, 0)
    kept["objects"] = {object_id: item._replace(layer=new_index[item.layer]) for object_id, item in objects.items()}
    kept["ignored"] = [(new_index[layer], value) for layer, value in ignored]
    return kept


def only_listed(sample: Sample, counts: np.ndarray | None = None) -> Sample:
    """Turns labels that are neither an object nor an ignored region into background.

    Args:
        sample: with layers, objects and ignored.
        counts: `histograms` of the layers, where they are known already.
    """
    layers = sample["layers"]
    if counts is None:
        counts = histograms(layers)
    is_listed = np.zeros(counts.shape, bool)
    is_listed[:, 0] = True
    for layer, value in [*(item[:2] for item in sample["objects"].values()), *sample.get("ignored", ())]:
        is_listed[layer, value] = True
    with_others = np.flatnonzero(((counts > 0) & ~is_listed).any(axis=1))
    if not len(with_others):
        return sample
    cleaned = layers.copy(order="K")
    for layer in with_others:
        table = np.where(is_listed[layer], np.arange(256), 0).astype(np.uint8)
        cleaned[:, :, layer] = table[layers[:, :, layer]]
    return Sample(**{**sample, "layers": cleaned})


def roots(objects: dict[int, ClickObject]) -> list[int]:
    """Ids of the objects that are not part of another one, in the order of `objects`."""
    return [object_id for object_id, item in objects.items() if item.parent is None]
