"""The objects of an image as they are annotated, and how the journal writes them.

Everything here is replaced, never changed in place: an earlier state is an earlier value.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, TypeAlias

from segkit.annotate.region import EMPTY, Box, Region, region_of_record
from segkit.files import DataError

State: TypeAlias = Literal["new", "draft", "started", "done", "rejected"]
"""How far an image is: untouched, untouched with masks of a file, touched, accepted, refused."""

CHOSEN: tuple[State, ...] = ("started", "done", "rejected")
"""States that an annotator gives an image."""

STATES: dict[str, State] = {"new": "new", "draft": "draft", **{name: name for name in CHOSEN}}

Source: TypeAlias = Literal["hand", "model", "draft", "file"]
"""Where an object's mask comes from."""

SOURCES: tuple[Source, ...] = ("hand", "model", "draft", "file")

LARGEST_NUMBER = 65_535
"""Of an object: tiles of labels have two bytes for it."""


class Click(NamedTuple):
    """A click in pixels of the image, and whether it marks the object or what is not part of it."""

    x: float
    y: float
    positive: bool


@dataclass(frozen=True)
class Prompt:
    """What the model was asked about an object; the mask follows from it and from the threshold.

    Attributes:
        clicks: in order.
        view: the part of the image that the model sees.
        start: the mask that the clicks correct, None for none.
        box: (x0, y0, x1, y1) that the object was drawn in, None for none.
    """

    clicks: tuple[Click, ...]
    view: Box
    start: Region | None = None
    box: tuple[float, float, float, float] | None = None


@dataclass(frozen=True)
class Object:
    """One object of an image.

    Attributes:
        number: its id, from 1.
        label: index of its class.
        mask: its pixels.
        order: objects of a higher one lie above.
        visible: whether it is shown.
        prompt: what the model answered with this mask; None where the mask is of another source.
        threshold: of the model's probabilities; None where there is no answer.
        num_clicks: all that were made on it.
        seconds: that were spent on it.
        source: of the mask.
        by: who changed it last.
        score: certainty of a draft, 0..1; None where none is known, and for what a person has changed.
    """

    number: int
    label: int
    mask: Region = EMPTY
    order: int = 0
    visible: bool = True
    prompt: Prompt | None = None
    threshold: float | None = None
    num_clicks: int = 0
    seconds: float = 0.0
    source: Source = "hand"
    by: str = ""
    score: float | None = None

    def described(self) -> dict[str, Any]:
        """Returns what the page is told."""
        box = None if self.mask.is_empty else list(self.mask.box)
        clicks = () if self.prompt is None else self.prompt.clicks
        return {
            "id": self.number,
            "class": self.label,
            "visible": self.visible,
            "order": self.order,
            "bbox": box,
            "area": self.mask.area,
            "clicks": [{"x": click.x, "y": click.y, "positive": click.positive} for click in clicks],
            "threshold": self.threshold,
            "answered": self.prompt is not None,
            "seconds": round(self.seconds, 1),
            "source": self.source,
            "score": self.score,
        }

    def record(self, before: "Object | None") -> dict[str, Any]:
        """Returns the object as JSON holds it; masks that it shares with the object before are left out."""
        values: dict[str, Any] = {
            "class": self.label,
            "order": self.order,
            "visible": self.visible,
            "threshold": self.threshold,
            "clicks": self.num_clicks,
            "seconds": self.seconds,
            "source": self.source,
            "by": self.by,
            "score": self.score,
            "mask": KEPT if before is not None and self.mask == before.mask else self.mask.record(),
        }
        if self.prompt is not None:
            prompt = self.prompt
            values["prompt"] = {"clicks": [list(click) for click in prompt.clicks], "view": list(prompt.view)}
            if prompt.box is not None:
                values["prompt"]["box"] = list(prompt.box)
            if prompt.start is not None:
                values["prompt"]["start"] = _name_of(prompt.start, before) or prompt.start.record()
        return values


KEPT, KEPT_START = "mask", "start"
"""In place of a mask: that of the object before, or the one that its clicks corrected."""


def _name_of(region: Region, before: Object | None) -> str | None:
    if before is not None and before.mask == region:
        return KEPT
    if before is not None and before.prompt is not None and before.prompt.start == region:
        return KEPT_START
    return None


def object_of(number: int, record: Any, before: Object | None, size: tuple[int, int], source: str) -> Object:
    """Reads an object out of JSON.

    Args:
        number: its id.
        record: of Object.record.
        before: the object that it replaces.
        size: (H, W) of the image.
        source: file and line, for the error.

    Raises:
        DataError: it is no such record.
    """
    try:
        said = record.get("prompt")
        prompt = None
        if said is not None:
            start = said.get("start")
            prompt = Prompt(
                tuple(Click(float(x), float(y), bool(positive)) for x, y, positive in said["clicks"]),
                _box_of(said["view"]),
                None if start is None else _region(start, before, size, source),
                None if said.get("box") is None else _corners_of(said["box"]),
            )
        if record["source"] not in SOURCES:
            raise ValueError(f"source {record['source']!r}")
        return Object(
            number,
            int(record["class"]),
            _region(record["mask"], before, size, source),
            int(record["order"]),
            bool(record["visible"]),
            prompt,
            _optional(record["threshold"]),
            int(record["clicks"]),
            float(record["seconds"]),
            record["source"],
            str(record["by"]),
            _optional(record["score"]),
        )
    except DataError:
        raise
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as error:
        raise DataError(
            f"{source}: object {number} cannot be read ({error}); restore the file, or remove it"
        ) from error


def _optional(value: Any) -> float | None:
    return None if value is None else float(value)


def _box_of(values: Any) -> Box:
    x0, y0, x1, y1 = (int(value) for value in values)
    return x0, y0, x1, y1


def _corners_of(values: Any) -> tuple[float, float, float, float]:
    x0, y0, x1, y1 = (float(value) for value in values)
    if not all(math.isfinite(value) for value in (x0, y0, x1, y1)):
        raise ValueError("a box that is not finite")
    return x0, y0, x1, y1


def _region(value: Any, before: Object | None, size: tuple[int, int], source: str) -> Region:
    if value == KEPT and before is not None:
        return before.mask
    if value == KEPT_START and before is not None and before.prompt is not None and before.prompt.start is not None:
        return before.prompt.start
    return region_of_record(value, size, source)


@dataclass(frozen=True)
class Sheet:
    """All that is annotated of an image.

    Attributes:
        objects: by number, in the order in which they were made.
        state: of the image.
        next_number: of the next new object; numbers are not used again.
    """

    objects: Mapping[int, Object] = field(default_factory=lambda: MappingProxyType({}))
    state: State = "new"
    next_number: int = 1

    def with_objects(self, *changed: Object) -> "Sheet":
        """Returns the sheet with objects added or replaced."""
        objects = {**self.objects, **{item.number: item for item in changed}}
        free = max((item.number for item in changed), default=0) + 1
        return replace(self, objects=MappingProxyType(objects), next_number=max(self.next_number, free))

    def without(self, *numbers: int) -> "Sheet":
        """Returns the sheet without some objects."""
        objects = {number: item for number, item in self.objects.items() if number not in numbers}
        return replace(self, objects=MappingProxyType(objects))

    @property
    def layers(self) -> list[Object]:
        """The objects from the lowest to the highest."""
        return sorted(self.objects.values(), key=lambda item: (item.order, item.number))

    @property
    def top(self) -> int:
        """The order of the highest object, 0 of none."""
        return max((item.order for item in self.objects.values()), default=0)
