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
    found = np.zeros(layers.shape[:2], np.uint8)
    for layer in range(layers.shape[2]):
        found |= layers[:, :, layer]
    return found == 0


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


def object_areas(sample: Sample, counts: np.ndarray | None = None) -> dict[int, int]:
    """counts: histograms of the sample's layers where they are known -> the pixels of each object, 0 for one that is
    not in the image (any more)."""
    if counts is None:
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


def used_layers(sample: Sample) -> Sample:
    """-> the sample without the layers that hold neither object nor ignored region (one stays where all would go)."""
    objects, ignored = sample["objects"], sample.get("ignored", ())
    used = sorted({one.layer for one in objects.values()} | {layer for layer, _ in ignored}) or [0]
    if len(used) == sample["layers"].shape[2]:
        return sample
    place_of = {layer: place for place, layer in enumerate(used)}
    kept = Sample(**sample)
    # one layer after the other in memory, since they are read one at a time
    kept["layers"] = np.stack([sample["layers"][:, :, layer] for layer in used]).transpose(1, 2, 0)
    kept["objects"] = {number: one._replace(layer=place_of[one.layer]) for number, one in objects.items()}
    kept["ignored"] = [(place_of[layer], value) for layer, value in ignored]
    return kept


def only_listed(sample: Sample, counts: np.ndarray | None = None) -> Sample:
    """counts: as in object_areas -> the sample whose layers hold nothing but its objects and ignored regions: other
    labels become background."""
    layers = sample["layers"]
    if counts is None:
        counts = histograms(layers)
    is_listed = np.zeros(counts.shape, bool)
    is_listed[:, 0] = True
    for layer, value in [*(one[:2] for one in sample["objects"].values()), *sample.get("ignored", ())]:
        is_listed[layer, value] = True
    others = np.flatnonzero(((counts > 0) & ~is_listed).any(axis=1))
    if not len(others):
        return sample
    cleaned = layers.copy(order="K")
    for layer in others:
        table = np.where(is_listed[layer], np.arange(256), 0).astype(np.uint8)
        cleaned[:, :, layer] = table[layers[:, :, layer]]
    return Sample(**{**sample, "layers": cleaned})


def roots(objects: Objects) -> list[int]:
    """-> ids of the objects that are part of no other, in order."""
    return [number for number, one in objects.items() if one.parent is None]
