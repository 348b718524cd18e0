"""The objects of a sample to click on: their pixels, areas and family, and what remains when some are taken out.

A sample holds `layers` uint8 [H,W,L], `objects` (id -> ClickObject) and `ignored` ((layer, value) of regions that are
neither object nor background). Functions return new objects and samples and never write to what they are given.
"""

from collections.abc import Iterable

import cv2
import numpy as np

from segkit.types import ClickObject, Sample

Objects = dict[int, ClickObject]

EXACT_FLOAT = 2**24
"""Pixels up to which OpenCV's float32 histogram counts exactly."""


def pixels_of(sample: Sample, number: int) -> np.ndarray:
    """-> bool [H,W]: the pixels of object `number`, ignored ones among them."""
    layer, value = sample["objects"][number][:2]
    return sample["layers"][:, :, layer] == value


def ignored_pixels(sample: Sample) -> np.ndarray:
    """-> bool [H,W]: pixels of the regions that are neither object nor background."""
    found = np.zeros(sample["layers"].shape[:2], bool)
    for layer, value in sample.get("ignored", ()):
        found |= sample["layers"][:, :, layer] == value
    return found


def object_mask(sample: Sample, number: int) -> np.ndarray:
    """-> int8 [H,W]: 1 on object `number`, -1 on ignored regions, whatever else lies there, 0 elsewhere."""
    return marked(sample, pixels_of(sample, number))


def marked(sample: Sample, pixels: np.ndarray) -> np.ndarray:
    """pixels: bool [H,W] -> int8 [H,W]: 1 there, -1 on the sample's ignored regions, 0 elsewhere."""
    mask = pixels.astype(np.int8)
    if sample.get("ignored"):
        mask[ignored_pixels(sample)] = -1
    return mask


def background(sample: Sample) -> np.ndarray:
    """-> bool [H,W]: pixels that carry no label in any layer."""
    layers = sample["layers"]
    return ~layers.any(axis=2) if layers.shape[2] != 1 else layers[:, :, 0] == 0


def histograms(layers: np.ndarray) -> np.ndarray:
    """layers: uint8 [H,W,L] -> int64 [L,256] pixels per value."""
    height, width, number = layers.shape
    counts = np.zeros((number, 256), np.int64)
    for layer in range(number):
        values = np.ascontiguousarray(layers[:, :, layer])
        if height * width < EXACT_FLOAT:
            counts[layer] = cv2.calcHist([values], [0], None, [256], [0, 256]).ravel()
        else:
            counts[layer] = np.bincount(values.ravel(), minlength=256)
    return counts


def object_areas(sample: Sample) -> dict[int, int]:
    """-> the pixels of each object, 0 for one that is not in the image (any more)."""
    counts = histograms(sample["layers"])
    return {number: int(counts[one.layer, one.value]) for number, one in sample["objects"].items()}


def without_objects(objects: Objects, gone: Iterable[int]) -> Objects:
    """objects: id -> ClickObject; gone: ids to remove -> the rest: children of a removed object pass to its parent."""
    left = dict(objects)
    for number in gone:
        removed = left.pop(number)
        for child in removed.children:
            if child in left:
                left[child] = left[child]._replace(parent=removed.parent)
        if removed.parent in left:
            parent = left[removed.parent]
            rest = tuple(child for child in parent.children if child != number)
            left[removed.parent] = parent._replace(children=rest + removed.children)
    return left


def large_objects(sample: Sample, min_area: int) -> Sample:
    """-> the sample without the objects of fewer than min_area pixels; their labels stay in the layers, so that their
    pixels are no background."""
    small = [number for number, area in object_areas(sample).items() if area < min_area]
    return Sample(**{**sample, "objects": without_objects(sample["objects"], small)}) if small else sample


def present_objects(sample: Sample) -> Sample:
    """-> the sample without the objects that have no pixel in it."""
    return large_objects(sample, 1)


def only_listed(sample: Sample) -> Sample:
    """-> the sample whose layers hold nothing but its objects and ignored regions: other labels become background, and
    layers of nothing else are left out (one stays where all would go)."""
    layers, objects, ignored = sample["layers"], sample["objects"], sample.get("ignored", ())
    tables = np.zeros((layers.shape[2], 256), np.uint8)
    for layer, value in [*(one[:2] for one in objects.values()), *ignored]:
        tables[layer, value] = value
    used = np.flatnonzero(tables.any(axis=1))
    kept = np.zeros((*layers.shape[:2], max(len(used), 1)), np.uint8)
    counts = histograms(layers)
    for place, layer in enumerate(used):
        has_others = (counts[layer, 1:] > 0)[tables[layer, 1:] == 0].any()
        values = layers[:, :, layer]
        kept[:, :, place] = tables[layer][values] if has_others else values
    moved = {int(layer): place for place, layer in enumerate(used)}
    cleaned = Sample(**sample)
    cleaned["layers"] = kept
    cleaned["objects"] = {number: one._replace(layer=moved[one.layer]) for number, one in objects.items()}
    cleaned["ignored"] = [(moved[layer], value) for layer, value in ignored]
    return cleaned


def roots(objects: Objects) -> list[int]:
    """-> ids of the objects that are part of no other, in order."""
    return [number for number, one in objects.items() if one.parent is None]
