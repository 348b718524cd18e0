"""Raw labels and colors of mask files -> class indices and IGNORE, by tables; and the colors classes are drawn in."""

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np

from segkit.files import DataError
from segkit.registry import did_you_mean
from segkit.types import IGNORE

BAD = 254
"""Marks labels that no class and no ignore rule covers; never leaves this file."""

MAX_CLASSES = 254

Color = tuple[int, int, int]


class LabelError(DataError):
    """Labels beyond the classes. path: the mask; values: the raw values or colors nothing covers. A worker hands
    on the message alone."""

    def __init__(self, message: str, path: str = "", values: tuple = ()):
        super().__init__(message)
        self.path, self.values = path, values

    def __reduce__(self) -> tuple:
        return type(self), (str(self), self.path, self.values)


def as_color(value: object) -> Color | None:
    """(r, g, b), "#rrggbb" or "r,g,b" -> (r, g, b) in 0..255; None for what is no color."""
    if isinstance(value, str):
        text = value.strip()
        if text.startswith("#") and len(text) == 7:
            value = [int(text[i : i + 2], 16) for i in (1, 3, 5)]
        elif text.count(",") == 2:
            value = [int(part) for part in text.split(",")]
    is_triple = isinstance(value, Sequence) and not isinstance(value, str) and len(value) == 3
    return tuple(map(int, value)) if is_triple and all(0 <= int(part) <= 255 for part in value) else None


def raw_label(key: object) -> int:
    """A key of label_map -> the number it means; YAML and command lines may give it as text."""
    try:
        return int(key)
    except (TypeError, ValueError):
        raise DataError(f"label_map: key {key!r} is neither a whole number nor a color such as '#ff0000'") from None


def class_index(target: object, classes: Sequence[str], key: object) -> int:
    """A value of label_map (index, class name or "ignore") -> the class index or IGNORE."""
    if isinstance(target, str):
        if target in classes:
            return list(classes).index(target)
        if target == "ignore":
            return IGNORE
        known = [*classes, "ignore"]
        raise DataError(f"label_map[{key!r}] = '{target}': no such class{did_you_mean(target, known)}")
    if target is None or target == IGNORE:
        return IGNORE
    if not 0 <= int(target) < len(classes):
        raise DataError(f"label_map[{key!r}] = {target}: there are classes 0..{len(classes) - 1}, or 'ignore'")
    return int(target)


class LabelTable:
    """Raw labels -> class indices 0..K-1 and IGNORE (255), by one look-up per pixel.

    label_map: {raw: class index, class name or "ignore"}; raw values it does not name stay as they are.
    reduce_zero_label: 0 becomes ignored and n becomes n - 1, as in ADE20K. ignore: raw value(s) left out; label_map
    goes before it. source: the official set whose labels these are; errors then do not offer arguments it lacks.
    """

    def __init__(
        self,
        classes: Sequence[str],
        *,
        label_map: Mapping | None = None,
        reduce_zero_label: bool = False,
        ignore: int | Iterable[int] | None = IGNORE,
        source: str = "",
    ):
        if not 0 < len(classes) <= MAX_CLASSES:
            raise DataError(f"{len(classes)} classes: labels of 8 bits have room for 1 to {MAX_CLASSES}")
        if label_map and reduce_zero_label:
            raise DataError("label_map and reduce_zero_label: give one of them; label_map={0: 'ignore', 1: 0, ...}")
        self.num_classes, self.source = len(classes), source
        self.ignored = () if ignore is None else (ignore,) if isinstance(ignore, int) else tuple(ignore)
        shift = int(reduce_zero_label)
        table = dict.fromkeys(self.ignored, IGNORE)
        if reduce_zero_label:
            table[0] = IGNORE
        table |= {raw: class_index(new, classes, raw) for raw, new in _numbers(label_map).items()}
        self._outside = {raw: new for raw, new in table.items() if not 0 <= raw < 65536}
        self._wide = np.full(65536, BAD, np.uint8)
        self._wide[shift : len(classes) + shift] = np.arange(len(classes), dtype=np.uint8)
        for raw, new in table.items():
            if 0 <= raw < 65536:
                self._wide[raw] = new
        self._narrow = np.ascontiguousarray(self._wide[:256])

    def apply(self, raw: np.ndarray, path: str | Path) -> np.ndarray:
        """raw: integer [H,W] of the file `path` -> uint8 [H,W]; LabelError names labels that no class covers."""
        if raw.dtype == np.uint8:
            labels = cv2.LUT(raw, self._narrow)
        elif raw.dtype == np.uint16:
            labels = self._wide.take(raw)
        else:
            is_inside = (raw >= 0) & (raw < 65536)
            labels = np.where(is_inside, self._wide.take(np.where(is_inside, raw, 0)), np.uint8(BAD))
            for value, new in self._outside.items():
                labels[raw == value] = new
        if (labels == BAD).any():
            raise self._error(raw, labels == BAD, str(path))
        return labels

    def _error(self, raw: np.ndarray, is_bad: np.ndarray, path: str) -> LabelError:
        values = tuple(int(value) for value in np.unique(raw[is_bad]))
        y, x = (int(place[0]) for place in np.nonzero(is_bad))
        named = ", ".join(str(value) for value in values[:8]) + (", ..." if len(values) > 8 else "")
        word = "label" if len(values) == 1 else "labels"
        rule = f"ignored: {', '.join(map(str, self.ignored)) or 'none'}"
        message = f"{path}: {word} {named} (first at x={x}, y={y}) beyond the {self.num_classes} classes ({rule}); "
        return LabelError(message + self.remedy(values), path, values)

    def remedy(self, values: tuple) -> str:
        """values: raw labels that no class covers -> what to change in the config."""
        if self.source:
            return f"{self.source} has no such label: check the file, or read the folder with type='Folder'"
        if values == (255,) and self.num_classes == 2:
            return "a mask saved as 0 and 255 needs label_map={255: 1}"
        if values == (self.num_classes,):
            return "reduce_zero_label=True if 0 means unlabelled and classes count from 1; else name one more class"
        return f"map them with label_map={{{values[0]}: ...}}, leave them out with ignore, or name more classes"


def _numbers(label_map: Mapping | None) -> dict[int, object]:
    return {raw_label(raw): new for raw, new in (label_map or {}).items() if as_color(raw) is None}


class ColorTable:
    """Colors -> class indices 0..K-1 and IGNORE, by one look-up per pixel in a table of all 2^24 colors.

    palette: K colors of the classes; label_map: {color: class index, class name or "ignore"} beside or instead.
    """

    def __init__(self, classes: Sequence[str], palette: Sequence[Color], label_map: Mapping | None = None):
        self.labels = {tuple(color): index for index, color in enumerate(palette)}
        if len(self.labels) < len(palette):
            twice = next(color for color in palette if list(palette).count(color) > 1)
            raise DataError(
                f"palette: the color {tuple(twice)} stands for two classes; color-coded masks need distinct ones"
            )
        for key, target in (label_map or {}).items():
            color = as_color(key)
            if color is None:
                raise DataError(f"label_map: key {key!r} is no color; with color_masks keys are '#rrggbb' or (r, g, b)")
            self.labels[color] = class_index(target, classes, key)

    @cached_property
    def _table(self) -> np.ndarray:
        """uint8 [2^24] by r + 256 g + 65536 b; made at the first mask, so that readers without colors pay nothing."""
        table = np.full(1 << 24, BAD, np.uint8)
        for (red, green, blue), label in self.labels.items():
            table[red | green << 8 | blue << 16] = label
        return table

    def apply(self, colors: np.ndarray, path: str | Path) -> np.ndarray:
        """colors: uint8 [H,W,3] RGB of the file `path` -> uint8 [H,W]; LabelError names colors that nothing covers."""
        packed = cv2.cvtColor(colors, cv2.COLOR_RGB2RGBA).view("<u4")[:, :, 0] & 0xFFFFFF
        labels = self._table.take(packed)
        is_bad = labels == BAD
        if is_bad.any():
            y, x = (int(place[0]) for place in np.nonzero(is_bad))
            values = tuple((int(v) & 255, int(v) >> 8 & 255, int(v) >> 16) for v in np.unique(packed[is_bad]))
            more = f" and {len(values) - 1} more" if len(values) > 1 else ""
            color = tuple(int(part) for part in colors[y, x])
            raise LabelError(
                f"{path}: the color {color} at x={x}, y={y}{more} belongs to no class; correct palette, or "
                f"map it with label_map={{'#{bytes(color).hex()}': 'ignore'}}; soft edges stem from resizing",
                str(path),
                values,
            )
        return labels
