"""Which object of a sample to segment: one, a union, or a part of one. RITM, Sofiiuk et al., arXiv 2102.06583, sections
3.2 and 4.1, and its published code. H W image. All randomness comes from rng."""

from typing import NamedTuple

import numpy as np

from segkit.data.interactive.objects import ignored_pixels, marked, object_areas, pixels_of, roots
from segkit.types import Sample

SMALL_PART = 0.10
"""Parts of a smaller share of their object are cut out of the region of its positive clicks."""

MOST_PARTS_OFF = 3
"""How many parts are taken out of a target at most."""


class Choice(NamedTuple):
    """What to segment. target: int8 [H,W] of 1, 0 and -1 (ignored); positive: bool [H,W] regions of positive clicks,
    one per object; required: bool [H,W] regions that want a negative click each."""

    target: np.ndarray
    positive: list[np.ndarray]
    required: list[np.ndarray]


def no_choice(sample: Sample) -> Choice:
    """-> the choice where there is no object: a target without a 1."""
    return Choice(marked(sample, np.zeros(sample["layers"].shape[:2], bool)), [], [])


def choose(sample: Sample, numbers: list[int]) -> Choice:
    """numbers: ids of objects -> their union, each with its pixels for positive clicks."""
    masks = [pixels_of(sample, number) for number in numbers]
    return _union(sample, masks, masks, [])


def choose_parts(sample: Sample, numbers: list[int], rng: np.random.Generator) -> Choice:
    """numbers: ids of objects -> the union of what choose_part makes of each."""
    areas = object_areas(sample)
    parts = [_choose_part(sample, number, areas, rng) for number in numbers]
    targets, positive, required = zip(*parts)
    return _union(sample, list(targets), list(positive), [mask for masks in required for mask in masks])


def draw_objects(sample: Sample, merge: float, max_merged: int, rng: np.random.Generator) -> list[int]:
    """-> ids of objects that are part of no other: one, or with probability merge 2 to max_merged different ones."""
    among = roots(sample["objects"])
    if len(among) > 1 and rng.random() < merge:
        number = int(rng.integers(2, min(len(among), max_merged) + 1))
        return [among[place] for place in rng.choice(len(among), number, replace=False)]
    return [among[int(rng.integers(len(among)))]]


def _union(sample: Sample, targets: list, positive: list, required: list) -> Choice:
    target = np.logical_or.reduce(targets)
    if sample.get("ignored"):
        visible = ~ignored_pixels(sample)
        positive = [mask & visible for mask in positive]
    return Choice(marked(sample, target), positive, required)


def _choose_part(sample: Sample, number: int, areas: dict, rng: np.random.Generator) -> tuple:
    """-> (target bool [H,W], region of positive clicks bool [H,W], regions of required negative clicks)."""
    objects = sample["objects"]
    while objects[number].children and rng.random() >= 0.5:
        children = objects[number].children
        number = children[int(rng.integers(len(children)))]
    chosen = objects[number]
    whole = pixels_of(sample, number)
    target, positive, required = whole, whole, []
    if chosen.parent is not None:
        required.append(pixels_of(sample, chosen.parent) & ~whole)
    for child in chosen.children:
        if areas[child] < SMALL_PART * areas[number]:
            positive = positive & ~pixels_of(sample, child)
    if chosen.children:
        num_off = int(rng.integers(min(len(chosen.children), MOST_PARTS_OFF) + 1))
        for place in rng.choice(len(chosen.children), num_off, replace=False):
            part = pixels_of(sample, chosen.children[place])
            target, positive = target & ~part, positive & ~part
            required.append(part)
    return target, positive, required
