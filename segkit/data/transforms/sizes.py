"""Geometric transforms: sizes, flips, quarter turns, padding. Crops: crops.py; rotation and elastic: distort.py.

A transform is called as transform(sample, rng) and returns a new sample; every key of the sample moves along
(geometry.py) and all randomness comes from rng. Sizes are (height, width) in pixels; one number means a square.
"""

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from segkit.data.transforms.geometry import Size, image_size
from segkit.data.transforms.operations import Fill, flip, pad, resize, transpose
from segkit.registry import TRANSFORMS, ConfigError
from segkit.types import IGNORE, Sample

DIRECTIONS = {"horizontal": (True, False), "vertical": (False, True), "both": (True, True)}


def apply(transforms: Iterable[Callable], sample: Sample, rng: np.random.Generator) -> Sample:
    """Calls the transforms in order with one generator -> the last one's sample."""
    for transform in transforms:
        sample = transform(sample, rng)
    return sample


def as_size(size: int | Sequence[int], name: str) -> Size:
    """size: n or (height, width) -> (height, width). ConfigError names the argument."""
    pair = (size, size) if np.ndim(size) == 0 else tuple(size)
    if len(pair) != 2 or not all(float(side).is_integer() and side > 0 for side in pair):
        raise ConfigError(f"{name} = {size}: give one positive whole number, or (height, width)")
    return int(pair[0]), int(pair[1])


def as_range(low: float, high: float, name: str) -> tuple[float, float]:
    """-> (low, high) of two positive factors. ConfigError where they are not in order."""
    if not 0 < low <= high:
        raise ConfigError(f"{name} = ({low}, {high}): two positive factors are needed, the smaller first")
    return low, high


def rescaled(size: Size, factor: float) -> Size:
    """-> both sides times the factor, rounded half up as mmcv does (int(side * factor + .5)), at least 1 pixel."""
    return max(int(size[0] * factor + 0.5), 1), max(int(size[1] * factor + 0.5), 1)


def fitted(size: Size, box: Size) -> Size:
    """-> the largest size of the same ratio with long side <= the longer of the box, short side <= the shorter."""
    factor = min(max(box) / max(size), min(box) / min(size))
    return rescaled(size, factor)


@TRANSFORMS.register
class Resize:
    """Resizes to a fixed size, to a short side, or down to a longest side.

    size: (height, width), met exactly, or with keep_ratio the largest that fits into its longer and shorter side
    (mmcv's rule). short: length of the shorter side, long: limit of the longer one (alone: a larger image is shrunk, a
    smaller one stays). area: average over the pixel's area when shrinking, instead of bilinear.
    """

    def __init__(
        self,
        size: int | Sequence[int] | None = None,
        *,
        keep_ratio: bool = False,
        short: int | None = None,
        long: int | None = None,
        area: bool = False,
    ):
        if (size is None) == (short is None and long is None):
            raise ConfigError("Resize takes either size, or short and/or long")
        self.size = None if size is None else as_size(size, "Resize.size")
        self.keep_ratio, self.short, self.long, self.area = keep_ratio, short, long, area

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """-> the resized sample; rng is not used."""
        return resize(sample, self._target(image_size(sample)), area=self.area)

    def _target(self, size: Size) -> Size:
        if self.size is not None:
            return fitted(size, self.size) if self.keep_ratio else self.size
        return short_sided(size, self.short, self.long)


def short_sided(size: Size, short: int | None, long: int | None) -> Size:
    """-> size with the shorter side `short` (None: as it is), but the longer one at most `long` (None: any)."""
    factor = 1.0 if short is None else short / min(size)
    if long is not None:
        factor = min(factor, long / max(size))
    return rescaled(size, factor)


@TRANSFORMS.register
class RandomResize:
    """mmsegmentation's RandomResize: the box `scale` times a factor, then the image fitted into it or stretched to it.

    scale: two sides in pixels; factor: uniform in ratio_range; the sides of the box are truncated to whole pixels.
    With keep_ratio the longer side of the box bounds the longer side of the image, whatever their order; otherwise
    scale is (height, width). Example: scale (512, 2048) with ratio_range (.5, 2) resizes 512x683 images by .5 to 2.
    """

    def __init__(
        self,
        scale: Sequence[int],
        ratio_range: tuple[float, float] = (0.5, 2.0),
        *,
        keep_ratio: bool = True,
        area: bool = False,
    ):
        self.scale = as_size(scale, "RandomResize.scale")
        self.ratio_range = as_range(*ratio_range, "RandomResize.ratio_range")
        self.keep_ratio, self.area = keep_ratio, area

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """-> the resized sample."""
        factor = rng.uniform(*self.ratio_range)
        box = max(int(self.scale[0] * factor), 1), max(int(self.scale[1] * factor), 1)
        return resize(sample, fitted(image_size(sample), box) if self.keep_ratio else box, area=self.area)


@TRANSFORMS.register
class RandomScale:
    """Resizes both sides by one factor, uniform in [low, high], rounded half up."""

    def __init__(self, low: float = 0.5, high: float = 2.0, *, area: bool = False):
        self.low, self.high = as_range(low, high, "RandomScale.low, high")
        self.area = area

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """-> the resized sample."""
        return resize(sample, rescaled(image_size(sample), rng.uniform(self.low, self.high)), area=self.area)


@TRANSFORMS.register
class RandomShortSide:
    """Resizes the shorter side to one of `sides` (pixels, equally likely), the longer one to at most `long`."""

    def __init__(self, sides: Sequence[int], long: int | None = None, *, area: bool = False):
        if not len(sides):
            raise ConfigError("RandomShortSide.sides is empty: name at least one length")
        self.sides, self.long, self.area = tuple(sides), long, area

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """-> the resized sample."""
        side = self.sides[rng.integers(len(self.sides))]
        return resize(sample, short_sided(image_size(sample), side, self.long), area=self.area)


@TRANSFORMS.register
class Flip:
    """Mirrors with probability p. direction: "horizontal", "vertical", "both", or several of them to draw from.

    Padding at the right and bottom stays there: only the valid part is mirrored.
    """

    def __init__(self, p: float = 0.5, direction: str | Sequence[str] = "horizontal"):
        names = (direction,) if isinstance(direction, str) else tuple(direction)
        if not names or any(name not in DIRECTIONS for name in names):
            raise ConfigError(f"Flip.direction = {direction!r}: there are {', '.join(DIRECTIONS)}")
        self.p, self.directions = p, names

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """-> the mirrored sample, or the given one."""
        if rng.random() >= self.p:
            return sample
        horizontal, vertical = DIRECTIONS[self.directions[rng.integers(len(self.directions))]]
        return flip(sample, horizontal=horizontal, vertical=vertical)


@TRANSFORMS.register
class Rot90:
    """With probability p turns counter-clockwise by quarter turns, their number drawn from `turns`; odd swap the sides.

    `window` stays as it is; padding stays at the right and bottom.
    """

    def __init__(self, p: float = 0.5, turns: Sequence[int] = (0, 1, 2, 3)):
        if not len(turns) or any(turn not in (0, 1, 2, 3) for turn in turns):
            raise ConfigError(f"Rot90.turns = {turns}: numbers of quarter turns, 0 to 3")
        self.p, self.turns = p, tuple(turns)

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """-> the turned sample, or the given one."""
        if rng.random() >= self.p:
            return sample
        turn = self.turns[rng.integers(len(self.turns))]
        # A quarter turn is a transposition and a flip: 1 = then upside down, 3 = then left to right.
        turned = transpose(sample) if turn in (1, 3) else sample
        return flip(turned, horizontal=turn in (2, 3), vertical=turn in (1, 2))


@TRANSFORMS.register
class Pad:
    """Pads at the right and bottom to at least `size` (height, width), or to the next multiple of `divisor`, or both.

    fill: image value, one or one per channel; ignore: label of padded mask pixels (-1 instead of 255 in float masks).
    centred: half of the padding goes to the top and left (the smaller half); it then counts as part of the image.
    """

    def __init__(
        self,
        size: int | Sequence[int] | None = None,
        *,
        divisor: int = 1,
        fill: Fill = 0,
        ignore: int = IGNORE,
        centred: bool = False,
    ):
        if divisor < 1:
            raise ConfigError(f"Pad.divisor = {divisor}: a whole number from 1 on")
        self.size = (1, 1) if size is None else as_size(size, "Pad.size")
        self.divisor, self.fill, self.ignore, self.centred = divisor, fill, ignore, centred

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """-> the padded sample, or the given one where nothing is missing; rng is not used."""
        now = image_size(sample)
        height, width = (-(-max(side, least) // self.divisor) * self.divisor for side, least in zip(now, self.size))
        offset = ((height - now[0]) // 2, (width - now[1]) // 2) if self.centred else (0, 0)
        return pad(sample, (height, width), offset=offset, fill=self.fill, ignore=self.ignore)
