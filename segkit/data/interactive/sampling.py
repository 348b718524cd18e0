"""The first clicks of a training sample: random points in and around an object.

RITM, Sofiiuk et al., arXiv 2102.06583, section 3.2, and its published code. H W image, P = max_points. All randomness
comes from rng.
"""

from collections.abc import Sequence
from typing import Annotated

import numpy as np

from segkit.constraints.named import Fraction, NonNegativeFloat, OptionalRounds, PositiveInt, Range
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
    equal_mixture,
    eroded,
)
from segkit.registry import TRANSFORMS, ConfigError
from segkit.types import Sample, WithArguments

SampledClick = tuple[int, int, int]
"""y, x, order."""

NO_ORDER, FIRST = 100, 0
"""Order of a sampled click, and of a first click in the centre of an object."""


@TRANSFORMS.register
class SampleClicks(WithArguments):
    """Chooses an object and samples clicks in and around it.

    Reads layers, objects and ignored, and removes them. Sets mask, float32 [H,W] of 1 (object), 0 (background) and -1
    (ignored), and clicks, float32 [2P,3] (y, x, order): P rows of positive, then P of negative clicks; empty rows
    are -1.

    Object: one that is part of no other, equally likely; with probability `merge`, where there are several, a union of
    objects. Without an object the mask has no 1, and negative clicks lie in the background.

    Positive clicks: 1 + k with P(k) ~ gamma^k, k < P, uniform in the eroded object. Of several objects each gets one,
    and k <= P more from all of them follow, P in total at most.

    Negative clicks: k <= P with P(k) ~ gamma^k, each in a region that is drawn for it: everything that is not the
    object, other objects (everything where there are none), or a ring around the object. An empty region gives no
    click.

    Unlike in the published code, positive clicks never fall on ignored pixels, and these stay ignored in a target
    without an object or with parts taken out. Its soft targets, which no published setting uses, are left out.

    Args:
        max_points: P, the most clicks of each sign.
        gamma: ratio of the probabilities of k + 1 and k clicks, positive.
        merge: probability of a union of several objects, where there are several.
        max_merged: how many objects a union has at most, 2 or more; -1 means any number.
        expand_ratio: width of the ring around the object, as a share of the square root of its area.
        erode: probability that a region of positive or required negative clicks is eroded.
        erode_steps: number of 3 x 3 erosions.
        negatives: probabilities of the three regions of negative clicks: everything, other objects, ring.
        use_hierarchy: replaces each object, with probability .5 per level, by one of its parts. Up to three parts of
            that are then taken out of the target, and they and the rest of its parent get a negative click each.
        first_click_center: puts each object's first click in its centre, where the distance to the boundary exceeds
            its maximum / inner_k. That click has order 0, all others 100.
        only_one_first_click: of several objects only the first one gets a click of its own.
        inner_k: see first_click_center; at 0 or below the pixel is drawn with probability proportional to its distance
            to the boundary.
        full_inner: probability that a central first click lies anywhere in the object.

    Raises:
        ConfigError: an argument is out of range.
    """

    def __init__(
        self,
        max_points: PositiveInt = 24,
        gamma: NonNegativeFloat = 0.80,
        merge: Fraction = 0.15,
        max_merged: PositiveInt = 2,
        *,
        expand_ratio: Annotated[float, Range(0, 10)] = 0.1,
        erode: Fraction = 0.9,
        erode_steps: OptionalRounds = 3,
        negatives: Sequence[NonNegativeFloat] = (0.1, 0.4, 0.5),
        use_hierarchy: bool = False,
        first_click_center: bool = False,
        only_one_first_click: bool = False,
        inner_k: NonNegativeFloat = 1.7,
        full_inner: Fraction = 0.0,
    ):
        if max_points < 1 or gamma <= 0:
            raise ConfigError(f"SampleClicks: max_points = {max_points}, gamma = {gamma}: both must be positive")
        if len(negatives) != 3 or min(negatives) < 0 or not np.isclose(sum(negatives), 1):
            raise ConfigError(
                f"SampleClicks.negatives = {negatives}: must be three probabilities that sum to 1 (everything, other "
                "objects, ring)"
            )
        if merge > 0 and max_merged != -1 and max_merged < 2:
            raise ConfigError(
                f"SampleClicks.max_merged = {max_merged}: must be 2 or more, or -1 for any number; merge=0 turns "
                "unions off"
            )
        self.max_points, self.gamma, self.merge = max_points, gamma, merge
        self.max_merged = max(max_points, 2) if max_merged == -1 else max_merged
        self.expand_ratio, self.erode, self.erode_steps = expand_ratio, erode, erode_steps
        self.negatives, self.use_hierarchy = tuple(negatives), use_hierarchy
        self.first_click_center, self.only_one_first_click = first_click_center, only_one_first_click
        self.inner_k, self.full_inner = inner_k, full_inner
        # positive counts begin at 1, so that both laws end at P clicks
        self.positive_law, self.negative_law = count_law(max_points, gamma), count_law(max_points + 1, gamma)

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Samples a target and its clicks.

        Args:
            sample: with image, layers, objects and ignored.
            rng: source of randomness.

        Returns:
            The sample with mask and clicks, without layers, objects and ignored.
        """
        sample = present_objects(sample)
        choice = self.choose(sample, rng)
        sampled = sample.copy()
        del sampled["layers"], sampled["objects"]
        sampled.pop("ignored", None)
        sampled["mask"] = choice.target.astype(np.float32)
        sampled["clicks"] = np.concatenate(
            [
                self._rows(self._positive(choice, rng)),
                self._rows(self._negative(sample, choice, rng)),
            ]
        )
        return sampled

    def choose(self, sample: Sample, rng: np.random.Generator) -> Choice:
        """Chooses what to segment.

        Args:
            sample: with layers, objects and ignored; all of its objects are in the image.
            rng: source of randomness.

        Returns:
            The target and the regions of its clicks, eroded.
        """
        if not sample["objects"]:
            return no_choice(sample)
        object_ids = draw_objects(sample, self.merge, self.max_merged, rng)
        choice = choose_parts(sample, object_ids, rng) if self.use_hierarchy else choose(sample, object_ids)
        positive = [self._eroded(mask, rng) for mask in choice.positive]
        return choice._replace(positive=positive, required=[self._eroded(mask, rng) for mask in choice.required])

    def negative_regions(self, sample: Sample, choice: Choice) -> tuple[Region, Region, Region]:
        """Returns the regions of negative clicks: everything but the object, other objects, the ring around it."""
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

    def _positive(self, choice: Choice, rng: np.random.Generator) -> list[SampledClick]:
        sources = [_single(mask) for mask in choice.positive[: self.max_points]]
        groups = [self._group(source, rng, has_first=self.first_click_center) for source in sources]
        return self._merged(groups, sources, rng)

    def _negative(self, sample: Sample, choice: Choice, rng: np.random.Generator) -> list[SampledClick]:
        sources = [_single(mask) for mask in choice.required][: self.max_points]
        groups = [self._group(source, rng, has_first=False) for source in sources]
        if len(sources) < self.max_points:
            around = Mixture(self.negatives, self.negative_regions(sample, choice))
            groups.append(_draws(around, draw_number(self.negative_law, rng), rng))
            sources.append(around)
        return self._merged(groups, sources, rng)

    def _group(self, source: Mixture, rng: np.random.Generator, *, has_first: bool) -> list[SampledClick]:
        """Draws 1 + k clicks in the single region of source; with has_first the first of them is a central one."""
        count = 1 + draw_number(self.positive_law, rng)
        if not has_first:
            return _draws(source, count, rng)
        center = self._central_pixel(source.regions[0], rng)
        first = [] if center is None else [(*center, FIRST)]
        return first + _draws(source, count - 1, rng)

    def _central_pixel(self, region: Region, rng: np.random.Generator) -> tuple[int, int] | None:
        if self.full_inner > 0 and rng.random() < self.full_inner:
            return region.draw(rng)
        if self.inner_k <= 0:
            return draw_by_depth(region.make(), rng)
        return Region(lambda: central(region.make(), self.inner_k)).draw(rng)

    def _merged(
        self, groups: list[list[SampledClick]], sources: list[Mixture], rng: np.random.Generator
    ) -> list[SampledClick]:
        """Keeps the clicks of a single group; of several groups, the first click of each and more from all sources."""
        groups = [group for group in groups if group]
        if len(groups) < 2:
            return groups[0] if groups else []
        firsts = [group[0] for group in (groups[:1] if self.only_one_first_click else groups)]
        more = _draws(equal_mixture(sources), draw_number(self.negative_law, rng), rng)
        room = self.max_points - len(firsts)
        if len(more) > room:
            more = [more[index] for index in rng.choice(len(more), room, replace=False)]
        return firsts + more

    def _rows(self, clicks: list[SampledClick]) -> np.ndarray:
        """The clicks as float32 [P,3], padded with rows of -1."""
        rows = np.full((self.max_points, 3), -1, np.float32)
        if clicks:
            rows[: len(clicks)] = clicks
        return rows


def _single(mask: np.ndarray) -> Mixture:
    return Mixture((1.0,), (Region(lambda: mask),))


def _draws(source: Mixture, count: int, rng: np.random.Generator) -> list[SampledClick]:
    """Draws up to `count` clicks; a draw from an empty region gives none."""
    pixels = [source.draw(rng) for _ in range(count)]
    return [(*pixel, NO_ORDER) for pixel in pixels if pixel is not None]
