"""The first clicks of a training sample: random points in and around an object. RITM, Sofiiuk et al., arXiv 2102.06583,
section 3.2, and its published code. H W image, P = max_points. All randomness comes from rng."""

from collections.abc import Sequence

import numpy as np

from segkit.data.interactive.choice import Choice, choose, choose_parts, draw_objects, no_choice
from segkit.data.interactive.objects import background, present_objects
from segkit.data.interactive.regions import (
    Mixture,
    Region,
    border_ring,
    central,
    count_law,
    draw_by_depth,
    draw_number,
    eroded,
    joined,
)
from segkit.registry import TRANSFORMS, ConfigError
from segkit.types import Sample

Click = tuple[int, int, int]
"""y, x, order."""

NO_ORDER, FIRST = 100, 0
"""Order of a sampled click; of a first click in the centre."""

PACKED = ("layers", "objects", "ignored")


@TRANSFORMS.register
class SampleClicks:
    """Chooses an object, and clicks in and around it: `mask` float32 [H,W] of 1, 0 and -1 (ignored), `clicks` float32
    [2P,3] (y, x, order), empty rows -1; layers, objects and ignored are removed.

    Object: one that is part of no other, equally likely; with probability `merge`, where there are several, the union
    of 2 to max_merged (-1: any number). With use_hierarchy each is replaced, with probability .5 per level, by one of
    its parts; up to three parts of that are then taken out of the target, and they and the rest of its parent get a
    negative click each.

    Positive clicks: 1 + k with P(k) ~ gamma^k, k < P, uniform in the object eroded erode_steps times (with probability
    `erode`). Of several objects each gets one (only_one_first_click: the first alone), and k <= P more from all of them
    follow, P in total at most. first_click_center: each object's first click, of order 0 where others have 100, lies
    where the distance to the boundary exceeds its maximum / inner_k (inner_k <= 0: anywhere with probability ~
    distance), or with probability full_inner anywhere in the object.

    Negative clicks: k <= P by the same law, each in a region of its own: all that is not the object, other objects (all
    where there are none), or a ring of expand_ratio * sqrt(area) pixels around it, with the probabilities `negatives`.
    An empty region gives no click. Without an object the mask has no 1 and negative clicks lie in the background.

    Unlike the published code's, positive clicks never fall on ignored pixels, and these stay ignored in a target
    without an object or with parts taken out. Its soft targets, which no published setting uses, are left out.
    """

    def __init__(
        self,
        max_points: int = 24,
        gamma: float = 0.80,
        merge: float = 0.15,
        max_merged: int = 2,
        *,
        expand_ratio: float = 0.1,
        erode: float = 0.9,
        erode_steps: int = 3,
        negatives: Sequence[float] = (0.1, 0.4, 0.5),
        use_hierarchy: bool = False,
        first_click_center: bool = False,
        only_one_first_click: bool = False,
        inner_k: float = 1.7,
        full_inner: float = 0.0,
    ):
        if max_points < 1 or gamma <= 0:
            raise ConfigError(f"SampleClicks: max_points = {max_points}, gamma = {gamma}: both must be positive")
        if len(negatives) != 3 or min(negatives) < 0 or not np.isclose(sum(negatives), 1):
            raise ConfigError(f"SampleClicks.negatives = {negatives}: three shares (all, other objects, ring) of sum 1")
        if merge > 0 and max_merged != -1 and max_merged < 2:
            raise ConfigError(f"SampleClicks.max_merged = {max_merged}: 2 or more, -1 for any, or set merge=0")
        self.max_points, self.merge = max_points, merge
        self.max_merged = max(max_points, 2) if max_merged == -1 else max_merged
        self.expand_ratio, self.erode, self.erode_steps = expand_ratio, erode, erode_steps
        self.negatives, self.use_hierarchy = tuple(negatives), use_hierarchy
        self.first_click_center, self.only_one_first_click = first_click_center, only_one_first_click
        self.inner_k, self.full_inner = inner_k, full_inner
        # positive counts begin at 1, so that both laws end at P clicks
        self.positive_law, self.negative_law = count_law(max_points, gamma), count_law(max_points + 1, gamma)

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """sample: image, layers, objects, ignored -> image, mask, clicks and what else it holds."""
        sample = present_objects(sample)
        choice = self.choose(sample, rng)
        sampled = Sample(**{key: sample[key] for key in sample if key not in PACKED})
        sampled["mask"] = choice.target.astype(np.float32)
        sampled["clicks"] = np.concatenate(
            [
                self._rows(self._positive(choice, rng)),
                self._rows(self._negative(sample, choice, rng)),
            ]
        )
        return sampled

    def choose(self, sample: Sample, rng: np.random.Generator) -> Choice:
        """-> what to segment of a sample whose objects are all in the image, regions of clicks eroded."""
        if not sample["objects"]:
            return no_choice(sample)
        numbers = draw_objects(sample, self.merge, self.max_merged, rng)
        choice = choose_parts(sample, numbers, rng) if self.use_hierarchy else choose(sample, numbers)
        positive = [self._eroded(mask, rng) for mask in choice.positive]
        return choice._replace(positive=positive, required=[self._eroded(mask, rng) for mask in choice.required])

    def negative_regions(self, sample: Sample, choice: Choice) -> tuple[Region, Region, Region]:
        """-> all that is not the object, other objects, the ring around it."""
        if not choice.positive:
            return (Region(lambda: background(sample)),) * 3
        is_target = choice.target > 0
        everything = Region(lambda: ~is_target)
        ring = Region(lambda: border_ring(is_target, self.expand_ratio))
        others = Region(lambda: ~(background(sample) | is_target))
        # published code: there are others as soon as the sample holds more objects than were chosen, parts counted
        has_others = len(sample["objects"]) > len(choice.positive)
        return everything, others if has_others else everything, ring

    def _eroded(self, mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return eroded(mask, self.erode_steps) if rng.random() < self.erode else mask

    def _positive(self, choice: Choice, rng: np.random.Generator) -> list[Click]:
        sources = [_alone(mask) for mask in choice.positive[: self.max_points]]
        groups = [self._group(source, rng, self.first_click_center) for source in sources]
        return self._merged(groups, sources, rng)

    def _negative(self, sample: Sample, choice: Choice, rng: np.random.Generator) -> list[Click]:
        sources = [_alone(mask) for mask in choice.required][: self.max_points]
        groups = [self._group(source, rng, False) for source in sources]
        if len(sources) < self.max_points:
            around = Mixture(self.negatives, self.negative_regions(sample, choice))
            groups.append(_draws(around, draw_number(self.negative_law, rng), rng))
            sources.append(around)
        return self._merged(groups, sources, rng)

    def _group(self, source: Mixture, rng: np.random.Generator, has_first: bool) -> list[Click]:
        """-> 1 + k clicks in the single region of source, has_first: the first of them a central one."""
        number = 1 + draw_number(self.positive_law, rng)
        if not has_first:
            return _draws(source, number, rng)
        place = self._central_place(source.regions[0], rng)
        first = [] if place is None else [(*place, FIRST)]
        return first + _draws(source, number - 1, rng)

    def _central_place(self, region: Region, rng: np.random.Generator) -> tuple[int, int] | None:
        if self.full_inner > 0 and rng.random() < self.full_inner:
            return region.draw(rng)
        if self.inner_k <= 0:
            return draw_by_depth(region.make(), rng)
        return Region(lambda: central(region.make(), self.inner_k)).draw(rng)

    def _merged(self, groups: list[list[Click]], sources: list[Mixture], rng: np.random.Generator) -> list[Click]:
        """-> the clicks of the only group that has any; of several the first of each and more from all sources."""
        groups = [group for group in groups if group]
        if len(groups) < 2:
            return groups[0] if groups else []
        firsts = [group[0] for group in (groups[:1] if self.only_one_first_click else groups)]
        more = _draws(joined(sources), draw_number(self.negative_law, rng), rng)
        room = self.max_points - len(firsts)
        if len(more) > room:
            more = [more[place] for place in rng.choice(len(more), room, replace=False)]
        return firsts + more

    def _rows(self, clicks: list[Click]) -> np.ndarray:
        """-> float32 [P,3], padded with rows of -1."""
        rows = np.full((self.max_points, 3), -1, np.float32)
        if clicks:
            rows[: len(clicks)] = clicks
        return rows


def _alone(mask: np.ndarray) -> Mixture:
    return Mixture((1.0,), (Region(lambda: mask),))


def _draws(source: Mixture, number: int, rng: np.random.Generator) -> list[Click]:
    """-> up to `number` clicks; a draw from an empty region gives none."""
    places = [source.draw(rng) for _ in range(number)]
    return [(*place, NO_ORDER) for place in places if place is not None]
