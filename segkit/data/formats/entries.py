"""Values of annotation files, checked: what is wrong with one is said with the file, the object and the way out."""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np

from segkit.data.files.outlines import check_segmentation, reason
from segkit.data.formats.base import Box, Shape
from segkit.data.formats.bitmaps import union_of
from segkit.files import MAX_PIXELS, DataError, brief, limit, parse_json, read_bytes

Entry: TypeAlias = Mapping[str, object]
"""An object of a JSON file, or the attributes of an XML element."""

REMEDY = "correct the file, or export it again"

FEW = "outlines of fewer than 3 corners"
"""Words of `lost` for outlines that cover nothing."""

LONGEST_LABEL = 300
"""Letters of a class name at most."""

MOST_SIDES = 2000
"""Corners of the outline that stands for a circle or ellipse at most."""


class Record(NamedTuple):
    """An object as its file has it, before its outline or mask is made.

    Attributes:
        label: its class.
        kind: the format's word for its form.
        entry: its values.
        source: file and object, for errors.
        group: objects of one class and group are pieces of one object; None for an object of its own.
    """

    label: str
    kind: str
    entry: Entry
    source: str
    group: str | None = None


def read_entry(path: str | Path) -> Entry:
    """Reads a JSON file that holds one object; DataError where it is none."""
    return entry_of(parse_json(read_bytes(path), path), str(path))


def entry_of(value: object, source: str) -> Entry:
    """Returns a value that must be an object with keys; DataError where it is none."""
    if not isinstance(value, dict):
        raise DataError(f"{source}: {brief(value)} where an object with keys is expected; {REMEDY}")
    return value


def entries_of(value: object, source: str) -> list[Entry]:
    """Returns a list of objects with keys, empty for None; DataError where it is something else."""
    if value is None:
        return []
    if not isinstance(value, list):
        raise DataError(f"{source}: {brief(value)} where a list is expected; {REMEDY}")
    return [entry_of(entry, f"{source}, entry {number}") for number, entry in enumerate(value, 1)]


def label_of(value: object, source: str) -> str:
    """Returns the name of a class without blanks around it; DataError where it is no text, empty or too long."""
    if not isinstance(value, str) or not value.strip() or len(value) > LONGEST_LABEL:
        raise DataError(f"{source}: the label {brief(value)} is no name of a class; give it a text")
    return value.strip()


def number_of(value: object, name: str, source: str) -> float:
    """Returns a finite number, also from text.

    Args:
        value: out of the file.
        name: of the value, for the error.
        source: file and object, for the error.

    Raises:
        DataError: it is none.
    """
    number = math.nan
    if isinstance(value, int | float | str) and not isinstance(value, bool):
        try:
            number = float(value)
        except (ValueError, OverflowError):
            number = math.nan
    if not math.isfinite(number):
        raise DataError(f"{source}: {name} = {brief(value)} must be a finite number; {REMEDY}")
    return number


def whole_of(value: object, name: str, source: str) -> int:
    """Returns a whole number, also from text or from a float without a fraction; DataError where it is none."""
    number = number_of(value, name, source)
    if number != int(number):
        raise DataError(f"{source}: {name} = {brief(value)} must be a whole number; {REMEDY}")
    return int(number)


def size_of(height: object, width: object, source: str) -> tuple[int, int]:
    """Returns (H, W) that a file states; DataError where they are no size of an image, or too many pixels."""
    sides = whole_of(height, "the height", source), whole_of(width, "the width", source)
    if min(sides) < 1 or sides[0] * sides[1] > limit(MAX_PIXELS):
        raise DataError(
            f"{source}: height {sides[0]} and width {sides[1]} are no size of an image; it has 1 to "
            f"{limit(MAX_PIXELS):,} pixels ({MAX_PIXELS[0]})"
        )
    return sides


def corners_of(points: object, source: str) -> np.ndarray:
    """Reads an outline.

    Args:
        points: at least three pairs [x, y], or one list [x, y, x, y, ...].
        source: file and object, for the error.

    Returns:
        float64 [n,2] of (x, y).

    Raises:
        DataError: a corner is no pair of finite numbers or far outside, or there are fewer than three.
    """
    if not isinstance(points, list | tuple):
        raise DataError(f"{source}: {brief(points)} where corners [[x, y], ...] are expected; {REMEDY}")
    flat: list[object] = []
    for number, point in enumerate(points, 1):
        if isinstance(point, list | tuple):
            if len(point) != 2:
                raise DataError(f"{source}: corner {number} is {brief(point)}; must be two numbers [x, y]; {REMEDY}")
            flat.extend(point)
        else:
            flat.append(point)
    try:
        if any(isinstance(number, bool) for number in flat):
            raise ValueError("a coordinate is true or false, no number")
        check_segmentation([flat], 1, 1)
        return np.array(flat, np.float64).reshape(-1, 2)
    except (TypeError, ValueError, OverflowError) as error:
        raise DataError(f"{source}: {reason(error)}; {REMEDY}") from error


def points_of(points: object, count: int, source: str) -> list[tuple[float, float]]:
    """Reads a known number of points [x, y]; DataError where there are more or fewer, or no finite numbers."""
    if not isinstance(points, list | tuple) or len(points) != count:
        raise DataError(f"{source}: {brief(points)} where {count} points [[x, y], ...] are expected; {REMEDY}")
    found = []
    for number, point in enumerate(points, 1):
        if not isinstance(point, list | tuple) or len(point) != 2:
            raise DataError(f"{source}: point {number} is {brief(point)}; must be two numbers [x, y]; {REMEDY}")
        x, y = (number_of(value, f"a coordinate of point {number}", source) for value in point)
        found.append((x, y))
    return found


def box_between(first: Sequence[float], second: Sequence[float]) -> Box:
    """Returns the box of two opposite corners (x, y), in any order."""
    (x0, x1), (y0, y1) = sorted((first[0], second[0])), sorted((first[1], second[1]))
    return x0, y0, x1, y1


def outline_of_box(box: Box) -> np.ndarray:
    """Returns the corners of a box, float64 [4,2], clockwise from the upper left one."""
    x0, y0, x1, y1 = box
    return np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], np.float64)


def turned(outline: np.ndarray, center: tuple[float, float], degrees: float) -> np.ndarray:
    """Turns an outline clockwise, as it is seen with y down, around a point (x, y)."""
    angle = math.radians(degrees)
    matrix = np.array([(math.cos(angle), math.sin(angle)), (-math.sin(angle), math.cos(angle))])
    return (outline - center) @ matrix + center


def ellipse_outline(center: tuple[float, float], radii: tuple[float, float], source: str) -> np.ndarray:
    """Returns the corners of an ellipse whose axes are those of the image, no side 0.05 pixels away from it.

    Args:
        center: (x, y).
        radii: along x and y, above 0.
        source: file and object, for the error.
    """
    if not 0 < min(radii) <= max(radii) < 1e6:
        raise DataError(f"{source}: radii {brief(radii)} are none of a circle or ellipse; remove it or draw it again")
    sides = min(MOST_SIDES, max(16, math.ceil(math.pi * math.sqrt(10 * max(radii)))))
    angles = 2 * math.pi * np.arange(sides) / sides
    return np.stack([center[0] + radii[0] * np.cos(angles), center[1] + radii[1] * np.sin(angles)], axis=1)


def mixed_groups(records: Iterable[Record], mask_kinds: Sequence[str]) -> int:
    """Counts groups whose pieces are masks and outlines; `united` leaves them apart."""
    kinds: dict[tuple[str, str], set[bool]] = {}
    for record in records:
        if record.group is not None:
            kinds.setdefault((record.label, record.group), set()).add(record.kind in mask_kinds)
    return sum(len(found) > 1 for found in kinds.values())


def united(records: Sequence[Record], shapes: Sequence[Shape]) -> tuple[Shape, ...]:
    """Joins the pieces of one object, which lies where its first piece was.

    Args:
        records: as the file has them.
        shapes: one for each.

    Returns:
        One shape for each object; of a group of masks and outlines one shape for the masks and one for the outlines.
    """
    groups: dict[tuple[object, ...], list[Shape]] = {}
    for number, (record, shape) in enumerate(zip(records, shapes, strict=True)):
        alone = (record.label, record.group, shape.mask is None) if record.group is not None else (number,)
        groups.setdefault(alone, []).append(shape)
    return tuple(_joined(pieces) for pieces in groups.values())


def _joined(pieces: list[Shape]) -> Shape:
    first = pieces[0]
    if len(pieces) == 1:
        return first
    masks = [piece.mask for piece in pieces if piece.mask is not None]
    if masks:
        return Shape(first.label, mask=union_of(masks), crowd=first.crowd)
    outlines, holes = [], []
    for piece in pieces:
        is_box = not piece.outlines and piece.box is not None
        outlines += [outline_of_box(piece.box)] if is_box and piece.box is not None else list(piece.outlines)
        holes += list(piece.holes)
    return Shape(first.label, tuple(outlines), tuple(holes), crowd=first.crowd)
