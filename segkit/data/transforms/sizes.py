"""Geometric transforms: sizes, flips, quarter turns, padding. Crops: crops.py; rotation and elastic: warps.py.

Sizes are (height, width) in pixels; one number means a square.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, TypeAlias

import numpy as np

from segkit.constraints.named import AnySize, Fraction, OneOf, PositiveFloat, PositiveInt
from segkit.data.transforms.base import Transform
from segkit.data.transforms.geometry import Size, image_size
from segkit.data.transforms.operations import Fill, flip, pad, resize, transpose
from segkit.registry import TRANSFORMS, ConfigError
from segkit.types import IGNORE, Sample

DIRECTIONS = {"horizontal": (True, False), "vertical": (False, True), "both": (True, True)}
"""Whether a flip changes left and right, and top and bottom."""

Direction: TypeAlias = Annotated[str, OneOf(DIRECTIONS)]
"""A direction of a flip."""


def apply(transforms: Iterable[Callable], sample: Sample, rng: np.random.Generator) -> Sample:
    """Calls transforms in order, all with the same generator, and returns the last one's sample."""
    for transform in transforms:
        sample = transform(sample, rng)
    return sample


def as_size(size: int | Sequence[int], name: str) -> Size:
    """Returns a size as (height, width).

    Args:
        size: n for a square of n pixels, or (height, width).
        name: of the argument, for the error.

    Raises:
        ConfigError: where these are no positive whole numbers.
    """
    sides = tuple(size) if isinstance(size, Iterable) else (size, size)
    if len(sides) != 2 or not all(float(side).is_integer() and side > 0 for side in sides):
        raise ConfigError(f"{name} = {size}: give one positive whole number, or (height, width)")
    return int(sides[0]), int(sides[1])


def as_range(low: float, high: float, name: str) -> tuple[float, float]:
    """Checks and returns a range.

    Args:
        low: the smaller factor, above 0.
        high: the larger one.
        name: of the argument, for the error.

    Returns:
        (low, high).

    Raises:
        ConfigError: where the factors are not positive or not in order.
    """
    if not 0 < low <= high:
        raise ConfigError(f"{name} = ({low}, {high}): must be two positive factors, the smaller first")
    return low, high


def rescaled(size: Size, factor: float) -> Size:
    """Returns a size times a factor, rounded half up as mmcv does: int(side * factor + .5), at least 1 pixel."""
    return max(int(size[0] * factor + 0.5), 1), max(int(size[1] * factor + 0.5), 1)


def fitted(size: Size, box: Size) -> Size:
    """Returns the largest size of the same aspect ratio that fits into a box, whatever their orientations.

    Args:
        size: (height, width) of the image.
        box: two sides; the longer bounds the image's longer side, the shorter its shorter one.
    """
    factor = min(max(box) / max(size), min(box) / min(size))
    return rescaled(size, factor)


@TRANSFORMS.register
class Resize(Transform):
    """Resizes to a fixed size, to a short side, or down to a longest side.

    Reads and changes all spatial keys, window and meta (valid, whole).

    Args:
        size: (height, width), met exactly, or with `keep_ratio` the largest size that fits into its longer and shorter
            side (mmcv's rule).
        keep_ratio: keeps the aspect ratio.
        short: length of the shorter side, in place of `size`.
        long: limit of the longer side; alone, a larger image is shrunk and a smaller one stays.
        area: averages over the pixel's area when shrinking, instead of bilinear sampling.

    Raises:
        ConfigError: where neither `size` nor one of `short` and `long` is given, or both are.
    """

    moves = "whole"

    def __init__(
        self,
        size: AnySize | None = None,
        *,
        keep_ratio: bool = False,
        short: PositiveInt | None = None,
        long: PositiveInt | None = None,
        area: bool = False,
    ):
        if (size is None) == (short is None and long is None):
            raise ConfigError("Resize takes either size, or short and/or long")
        self.size = None if size is None else as_size(size, "Resize.size")
        self.keep_ratio, self.short, self.long, self.area = keep_ratio, short, long, area

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Returns the resized sample; rng is not used."""
        return resize(sample, self._target(image_size(sample)), area=self.area)

    def _target(self, size: Size) -> Size:
        if self.size is not None:
            return fitted(size, self.size) if self.keep_ratio else self.size
        return short_sided(size, self.short, self.long)


def short_sided(size: Size, short: int | None, long: int | None) -> Size:
    """Returns the size of an image that is resized to a short side.

    Args:
        size: (height, width) of the image.
        short: length of its shorter side; None leaves it.
        long: limit of the longer side, which takes precedence; None for no limit.
    """
    factor = 1.0 if short is None else short / min(size)
    if long is not None:
        factor = min(factor, long / max(size))
    return rescaled(size, factor)


@TRANSFORMS.register
class RandomResize(Transform):
    """mmsegmentation's RandomResize: fits the image into a box of random size, or stretches it to that.

    Reads and changes all spatial keys, window and meta (valid, whole). The box is `scale` times a factor uniform in
    `ratio_range`, its sides truncated to whole pixels. Example: scale (512, 2048) with ratio_range (.5, 2) resizes
    512x683 images by .5 to 2.

    Args:
        scale: the box's two sides in pixels. With `keep_ratio` its longer side bounds the longer side of the image,
            whatever their order; otherwise it is (height, width).
        ratio_range: range of the factor.
        keep_ratio: keeps the aspect ratio.
        area: averages over the pixel's area when shrinking, instead of bilinear sampling.
    """

    moves = "whole"

    def __init__(
        self,
        scale: Sequence[PositiveInt],
        ratio_range: tuple[PositiveFloat, PositiveFloat] = (0.5, 2.0),
        *,
        keep_ratio: bool = True,
        area: bool = False,
    ):
        self.scale = as_size(scale, "RandomResize.scale")
        self.ratio_range = as_range(*ratio_range, "RandomResize.ratio_range")
        self.keep_ratio, self.area = keep_ratio, area

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Returns the resized sample."""
        factor = rng.uniform(*self.ratio_range)
        box = max(int(self.scale[0] * factor), 1), max(int(self.scale[1] * factor), 1)
        return resize(sample, fitted(image_size(sample), box) if self.keep_ratio else box, area=self.area)


@TRANSFORMS.register
class RandomScale(Transform):
    """Resizes both sides by one factor, uniform in [low, high], rounded half up.

    Reads and changes all spatial keys, window and meta (valid, whole).

    Args:
        low: smallest factor.
        high: largest factor.
        area: averages over the pixel's area when shrinking, instead of bilinear sampling.
    """

    moves = "whole"

    def __init__(self, low: PositiveFloat = 0.5, high: PositiveFloat = 2.0, *, area: bool = False):
        self.low, self.high = as_range(low, high, "RandomScale.low, high")
        self.area = area

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Returns the resized sample."""
        return resize(sample, rescaled(image_size(sample), rng.uniform(self.low, self.high)), area=self.area)


@TRANSFORMS.register
class RandomShortSide(Transform):
    """Resizes the shorter side to a randomly chosen length.

    Reads and changes all spatial keys, window and meta (valid, whole).

    Args:
        sides: lengths of the shorter side in pixels, equally likely.
        long: limit of the longer side; None for no limit.
        area: averages over the pixel's area when shrinking, instead of bilinear sampling.

    Raises:
        ConfigError: where `sides` is empty.
    """

    moves = "whole"

    def __init__(self, sides: Sequence[PositiveInt], long: PositiveInt | None = None, *, area: bool = False):
        if not len(sides):
            raise ConfigError("RandomShortSide.sides is empty: name at least one length")
        self.sides, self.long, self.area = tuple(sides), long, area

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Returns the resized sample."""
        side = self.sides[rng.integers(len(self.sides))]
        return resize(sample, short_sided(image_size(sample), side, self.long), area=self.area)


@TRANSFORMS.register
class Flip(Transform):
    """Mirrors the image with probability p.

    Reads and changes all spatial keys; window stays. Padding at the right and bottom stays there: only the valid part
    is mirrored.

    Args:
        p: probability.
        direction: "horizontal", "vertical", "both", or several of them to draw from.

    Raises:
        ConfigError: for another direction.
    """

    moves = "whole"

    def __init__(self, p: Fraction = 0.5, direction: Direction | Sequence[Direction] = "horizontal"):
        names = (direction,) if isinstance(direction, str) else tuple(direction)
        if not names or any(name not in DIRECTIONS for name in names):
            raise ConfigError(f"Flip.direction = {direction!r}: must be one or several of {', '.join(DIRECTIONS)}")
        self.p, self.direction = p, direction
        self._names = names

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Returns the mirrored sample, or the given one."""
        if rng.random() >= self.p:
            return sample
        horizontal, vertical = DIRECTIONS[self._names[rng.integers(len(self._names))]]
        return flip(sample, horizontal=horizontal, vertical=vertical)


@TRANSFORMS.register
class Rot90(Transform):
    """Rotates counter-clockwise by a random number of quarter turns, with probability p.

    Reads and changes all spatial keys and meta["valid"]; window stays. An odd number of turns swaps the sides; padding
    stays at the right and bottom.

    Args:
        p: probability.
        turns: numbers of quarter turns, 0 to 3, equally likely.

    Raises:
        ConfigError: for other numbers, or none.
    """

    moves = "whole"

    def __init__(self, p: Fraction = 0.5, turns: Sequence[int] = (0, 1, 2, 3)):
        if not len(turns) or any(turn not in (0, 1, 2, 3) for turn in turns):
            raise ConfigError(f"Rot90.turns = {turns}: must be numbers of quarter turns, 0 to 3")
        self.p, self.turns = p, tuple(turns)

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Returns the rotated sample, or the given one."""
        if rng.random() >= self.p:
            return sample
        turns = self.turns[rng.integers(len(self.turns))]
        # A quarter turn is a transposition and a flip: 1 = then upside down, 3 = then left to right.
        turned = transpose(sample) if turns in (1, 3) else sample
        return flip(turned, horizontal=turns in (2, 3), vertical=turns in (1, 2))


@TRANSFORMS.register
class Pad(Transform):
    """Pads at the right and bottom to at least a size, or to the next multiple of a number, or both.

    Reads and changes all spatial keys and meta["valid"]; window stays.

    Args:
        size: least (height, width); None for the image's.
        divisor: both sides become multiples of it.
        fill: image value of the padding, one or one per channel.
        ignore: label of the padding (-1 instead of 255 in float masks).
        centred: half of the padding goes to the top and left (the smaller half); it then counts as part of the image.

    Raises:
        ConfigError: where `divisor` is below 1.
    """

    def __init__(
        self,
        size: AnySize | None = None,
        *,
        divisor: PositiveInt = 1,
        fill: Fill = 0,
        ignore: int = IGNORE,
        centred: bool = False,
    ):
        if divisor < 1:
            raise ConfigError(f"Pad.divisor = {divisor}: must be a whole number, at least 1")
        self.size = (1, 1) if size is None else as_size(size, "Pad.size")
        self.divisor, self.fill, self.ignore, self.centred = divisor, fill, ignore, centred
        if centred:
            self.moves = "whole"

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Returns the padded sample, or the given one where nothing is missing; rng is not used."""
        height, width = image_size(sample)
        padded_height = -(-max(height, self.size[0]) // self.divisor) * self.divisor
        padded_width = -(-max(width, self.size[1]) // self.divisor) * self.divisor
        offset = ((padded_height - height) // 2, (padded_width - width) // 2) if self.centred else (0, 0)
        return pad(sample, (padded_height, padded_width), offset=offset, fill=self.fill, ignore=self.ignore)
