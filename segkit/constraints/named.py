"""Ranges and choices of settings, written where the types are: `dropout: Fraction = 0.1`.

The check of a config and `segkit config --list KIND --show NAME` read them from the annotations, so that each stands
once. Every float must be finite unless its annotation says `Unbounded`.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Annotated, TypeAlias


@dataclass(frozen=True)
class Range:
    """Numbers between two ends.

    Args:
        least: smallest value, None for no end.
        most: largest value, None for no end.
        above: whether `least` itself is left out.
        below: whether `most` itself is left out.
    """

    least: float | None = None
    most: float | None = None
    above: bool = False
    below: bool = False

    def holds(self, value: float) -> bool:
        """Returns whether a number lies in the range; NaN never does."""
        from_below = self.least is None or (value > self.least if self.above else value >= self.least)
        from_above = self.most is None or (value < self.most if self.below else value <= self.most)
        return from_below and from_above

    @property
    def words(self) -> str:
        """The range in words after "a number": "of 1 or more", "above 0", "from 0 to 1"."""
        if self.least is not None and self.most is not None:
            start = f"above {self.least}" if self.above else f"from {self.least}"
            return f"{start} to {'below ' if self.below else ''}{self.most}"
        if self.least is not None:
            return f"above {self.least}" if self.above else f"of {self.least} or more"
        return f"below {self.most}" if self.below else f"of {self.most} or less"


@dataclass(frozen=True)
class OneOf:
    """One of a few values.

    Args:
        choices: the values.
    """

    choices: Collection[str | int]

    def __post_init__(self) -> None:
        object.__setattr__(self, "choices", tuple(self.choices))  # the keys of a table, which hash

    def holds(self, value: object) -> bool:
        """Returns whether a value is one of the choices; True and 1 differ."""
        return any(type(value) is type(choice) and value == choice for choice in self.choices)

    @property
    def words(self) -> str:
        """The choices in words."""
        shown = [repr(choice) for choice in self.choices]
        return " or ".join(shown) if len(shown) < 3 else f"one of {', '.join(shown)}"


@dataclass(frozen=True)
class Unbounded:
    """Marks a float that may be infinite."""


@dataclass(frozen=True)
class Filled:
    """Marks a list that must not be empty."""

    def holds(self, value: Collection) -> bool:
        """Returns whether a list has an element."""
        return len(value) > 0

    @property
    def words(self) -> str:
        """The constraint in words after "a list, each ..."."""
        return "and one of them at least"


@dataclass(frozen=True)
class Pattern:
    """Marks a text that must be a regular expression."""

    def holds(self, value: str) -> bool:
        """Returns whether a text compiles."""
        try:
            re.compile(value)
        except re.error:
            return False
        return True

    @property
    def words(self) -> str:
        """The constraint in words after "text"."""
        return "that is a regular expression"


Constraint: TypeAlias = Range | OneOf | Filled | Pattern | Unbounded
"""What an annotation may say of a value beside its type."""

PositiveInt: TypeAlias = Annotated[int, Range(1)]
"""A count: 1 or more."""

NonNegativeInt: TypeAlias = Annotated[int, Range(0)]
"""A count that may be 0."""

PositiveFloat: TypeAlias = Annotated[float, Range(0, above=True)]
"""A number above 0."""

NonNegativeFloat: TypeAlias = Annotated[float, Range(0)]
"""A factor or weight: 0 or more."""

Fraction: TypeAlias = Annotated[float, Range(0, 1)]
"""A probability, an overlap, or a share of a whole: 0 to 1."""

Decay: TypeAlias = Annotated[float, Range(0, 1, below=True)]
"""A decay or momentum, or a probability to drop: 0 to below 1."""

Names: TypeAlias = Annotated[list[str], Filled()]
"""One name or several."""

AnySize: TypeAlias = PositiveInt | tuple[PositiveInt, PositiveInt]
"""Height and width in pixels; one number is a square."""

Scale: TypeAlias = Annotated[float, Range(0, 16, above=True)]
"""A factor of an image's size, to 16: beyond that no image fits into memory."""

Rounds: TypeAlias = Annotated[int, Range(1, 1000)]
"""A number of layers, levels or repetitions: more would not end."""

OptionalRounds: TypeAlias = Annotated[int, Range(0, 1000)]
"""The same where 0 leaves them out."""

Seconds: TypeAlias = Annotated[float, Range(0, 10_000_000)]
"""A time to wait; clocks of the system overflow beyond some months."""

Workers: TypeAlias = Annotated[int, Range(0, 1024)]
"""A number of processes that read data; 0 reads in the process itself."""

Seed: TypeAlias = Annotated[int, Range(0, 2**32 - 1)]
"""A seed of random numbers."""
