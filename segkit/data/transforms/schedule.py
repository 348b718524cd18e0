"""Transforms that depend on how far the training is: hard ones first, soft ones at the end."""

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np

from segkit.constraints.named import Fraction, NonNegativeInt
from segkit.data.transforms.base import ImageFacts, Transform, check_all
from segkit.registry import TRANSFORMS, ConfigError
from segkit.types import Sample

Change: TypeAlias = Callable[[Sample, np.random.Generator], Sample]

LONG = 10**9
"""Steps of a training whose length is not known yet."""


@TRANSFORMS.register
class HardThenSoft(Transform):
    """Applies some transforms during most of the training and others in the rest, so that it ends on plain images.

    It stands in train.transforms itself, or in another HardThenSoft. The image's position in the stream decides, so the
    switch falls between two optimizer steps, for any number of workers and in a resumed run.

    Args:
        hard: applied in order before the switch.
        soft: applied in order from the switch on.
        share: of the steps of the training that are hard; the switch comes at the whole step below.
        step: number of steps that are hard; None takes `share`.
    """

    moves = "parts"
    parts = {"hard": TRANSFORMS, "soft": TRANSFORMS}

    def __init__(
        self,
        hard: Sequence[Change],
        soft: Sequence[Change],
        share: Fraction = 0.9,
        *,
        step: NonNegativeInt | None = None,
    ):
        self.hard, self.soft, self.share, self.step = tuple(hard), tuple(soft), share, step

    def switch(self, total_steps: int) -> int:
        """Returns the number of steps that are hard, of a training of so many steps."""
        # share is a decimal fraction: .7 * 10 is a little below 7
        return int(self.share * total_steps + 1e-9) if self.step is None else self.step

    def chosen(self, step: int, total_steps: int) -> tuple[Change, ...]:
        """Returns the transforms of a step, the first being 0."""
        return self.hard if step < self.switch(total_steps) else self.soft

    def check(self, images: ImageFacts) -> None:
        check_all((*self.hard, *self.soft), images)

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Raises ConfigError, since a sample alone does not tell how far the training is."""
        raise ConfigError("HardThenSoft: must stand in train.transforms itself, not inside another transform")


def of_step(transforms: Sequence[Change], step: int, total_steps: int) -> list[Change]:
    """Returns the transforms that a step applies, with those of HardThenSoft in its place.

    Args:
        transforms: of section `train`.
        step: of the training, the first being 0.
        total_steps: of the whole training.
    """
    found: list[Change] = []
    for transform in transforms:
        if isinstance(transform, HardThenSoft):
            found += of_step(transform.chosen(step, total_steps), step, total_steps)
        else:
            found.append(transform)
    return found


def switches(transforms: Sequence[Change], total_steps: int) -> list[int]:
    """Returns the steps before which the transforms change, in order, each once; 0 where all are soft."""
    found = set()
    for transform in transforms:
        if isinstance(transform, HardThenSoft):
            inner = switches((*transform.hard, *transform.soft), total_steps)
            found |= {transform.switch(total_steps), *inner}
    return sorted(step for step in found if step < total_steps)
