"""Chooses what to segment in a click sample: one object, a union of objects, or a part of one.

RITM, Sofiiuk et al., arXiv 2102.06583, sections 3.2 and 4.1, and its published code. H W image. All randomness comes
from rng.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from segkit.data.interactive.objects import ignored_pixels, marked, object_areas, pixels_of, roots
from segkit.types import Sample

SMALL_PART = 0.10
"""Parts smaller than this share of their object are cut out of the region of its positive clicks."""

MOST_PARTS_OFF = 3
"""How many parts are taken out of a target at most."""


class Choice(NamedTuple):
    """A target to segment and the regions for its clicks.

    Args:
        target: int8 [H,W] of 1 (object), 0 (background) and -1 (ignored).
        positive: bool [H,W] regions of positive clicks, one per object.
        required: bool [H,W] regions that need a negative click each.
    """

    target: np.ndarray
    positive: list[np.ndarray]
    required: list[np.ndarray]


class _Part(NamedTuple):
    """One chosen object or part: its pixels, region of positive clicks (bool [H,W]), required negative regions."""

    target: np.ndarray
    positive: np.ndarray
    required: list[np.ndarray]


def no_choice(sample: Sample) -> Choice:
    """The choice for a sample without objects: a target without a 1, and no regions."""
    return Choice(marked(sample, np.zeros(sample["layers"].shape[:2], bool)), [], [])


def choose(sample: Sample, object_ids: list[int]) -> Choice:
    """Chooses the union of objects as the target; each object is a region of positive clicks."""
    masks = [pixels_of(sample, object_id) for object_id in object_ids]
    return _union(sample, masks, masks, [])


def choose_parts(sample: Sample, object_ids: list[int], rng: np.random.Generator) -> Choice:
    """Replaces each object by a random part of it and chooses their union as the target.

    An object is replaced, with probability .5 per level, by one of its children. Up to three parts are then taken out
    of the result; they and the rest of its parent need a negative click each.
    """
    areas = object_areas(sample)
    parts = [_choose_part(sample, object_id, areas, rng) for object_id in object_ids]
    targets = [part.target for part in parts]
    positive = [part.positive for part in parts]
    required = [mask for part in parts for mask in part.required]
    return _union(sample, targets, positive, required)


def draw_objects(sample: Sample, merge: float, max_merged: int, rng: np.random.Generator) -> list[int]:
    """Draws the objects of a target.

    Args:
        sample: with objects.
        merge: probability of several objects, where the sample has several.
        max_merged: how many are drawn at most.
        rng: source of randomness.

    Returns:
        Ids of objects that are part of no other: one, or 2 to `max_merged` different ones.
    """
    candidates = roots(sample["objects"])
    if len(candidates) > 1 and rng.random() < merge:
        count = int(rng.integers(2, min(len(candidates), max_merged) + 1))
        return [candidates[index] for index in rng.choice(len(candidates), count, replace=False)]
    return [candidates[int(rng.integers(len(candidates)))]]


def _union(
    sample: Sample, targets: Sequence[np.ndarray], positive: list[np.ndarray], required: list[np.ndarray]
) -> Choice:
    target = np.logical_or.reduce(targets)
    if sample.get("ignored"):
        visible = ~ignored_pixels(sample)
        positive = [mask & visible for mask in positive]
    return Choice(marked(sample, target), positive, required)


def _choose_part(sample: Sample, object_id: int, areas: dict[int, int], rng: np.random.Generator) -> _Part:
    objects = sample["objects"]
    while objects[object_id].children and rng.random() >= 0.5:
        children = objects[object_id].children
        object_id = children[int(rng.integers(len(children)))]
    chosen = objects[object_id]
    whole = pixels_of(sample, object_id)
    target, positive, required = whole, whole, []
    if chosen.parent is not None:
        required.append(pixels_of(sample, chosen.parent) & ~whole)
    for child in chosen.children:
        if areas[child] < SMALL_PART * areas[object_id]:
            positive = positive & ~pixels_of(sample, child)
    if chosen.children:
        num_off = int(rng.integers(min(len(chosen.children), MOST_PARTS_OFF) + 1))
        for index in rng.choice(len(chosen.children), num_off, replace=False):
            pixels = pixels_of(sample, chosen.children[index])
            target, positive = target & ~pixels, positive & ~pixels
            required.append(pixels)
    return _Part(target, positive, required)
