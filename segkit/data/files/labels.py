"""Tables that turn the raw labels and colors of mask files into class indices and IGNORE."""

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np

from segkit.data.files.masks import COLOR_REMEDY
from segkit.files import DataError
from segkit.registry import did_you_mean
from segkit.types import IGNORE, Color

BAD = 254
"""Marks labels that no class and no ignore rule covers; never leaves this file."""

MAX_CLASSES = 254
"""Most classes that labels of 8 bits have room for, beside BAD and IGNORE."""


class LabelError(DataError):
    """Labels of a mask that no class covers.

    An error that a worker process hands on is a DataError and keeps the message alone.

    Args:
        message: as shown.
        path: the mask file.
        values: the raw labels or colors that nothing covers.
    """

    def __init__(self, message: str, path: str = "", values: tuple = ()):
        super().__init__(message)
        self.path, self.values = path, values

    def __reduce__(self) -> tuple:
        return type(self), (str(self), self.path, self.values)


def as_color(value: object) -> Color | None:
    """Reads a color.

    Args:
        value: (r, g, b), "#rrggbb" or "r,g,b".

    Returns:
        (r, g, b) in 0..255; None for what is no color.
    """
    if isinstance(value, str):
        text = value.strip()
        if text.startswith("#") and len(text) == 7:
            channels = [int(text[i : i + 2], 16) for i in (1, 3, 5)]
        elif text.count(",") == 2:
            channels = [int(number) for number in text.split(",")]
        else:
            return None
    elif isinstance(value, Sequence) and len(value) == 3:
        channels = [int(number) for number in value]
    else:
        return None
    red, green, blue = channels
    return (red, green, blue) if all(0 <= channel <= 255 for channel in channels) else None


def raw_label(key: int | str) -> int:
    """Returns the number that a key of label_map means.

    Args:
        key: a whole number, which YAML and command lines may give as text.

    Raises:
        DataError: for anything else.
    """
    try:
        return int(key)
    except (TypeError, ValueError):
        raise DataError(f"label_map: key {key!r} is neither a whole number nor a color such as '#ff0000'") from None


def class_index(target: int | str | None, classes: Sequence[str], key: object) -> int:
    """Returns the class that a value of label_map means.

    Args:
        target: a class index, a class name, or "ignore", None or 255 for pixels left out.
        classes: the K names.
        key: the value's key, for errors.

    Returns:
        The class index or IGNORE.

    Raises:
        DataError: where there is no such class.
    """
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
        raise DataError(f"label_map[{key!r}] = {target}: must be one of the classes 0..{len(classes) - 1}, or 'ignore'")
    return int(target)


class LabelTable:
    """Turns raw labels into class indices 0..K-1 and IGNORE (255), by one look-up per pixel.

    Args:
        classes: K names, at most 254.
        label_map: {raw label: class index, class name or "ignore"}; labels it does not name stay as they are.
        reduce_zero_label: label 0 is ignored and n becomes n - 1, as in ADE20K; not together with `label_map`.
        ignore: raw label(s) left out, None for none; `label_map` takes precedence.
        source: name of the official data set whose labels these are; errors then do not suggest arguments that its
            reader does not have.

    Raises:
        DataError: for too many classes, or a `label_map` that cannot be.
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
        table |= {raw: class_index(target, classes, raw) for raw, target in _numbers(label_map).items()}
        self._outside = {raw: index for raw, index in table.items() if not 0 <= raw < 65536}
        self._wide = np.full(65536, BAD, np.uint8)
        self._wide[shift : len(classes) + shift] = np.arange(len(classes), dtype=np.uint8)
        for raw, index in table.items():
            if 0 <= raw < 65536:
                self._wide[raw] = index
        self._narrow = np.ascontiguousarray(self._wide[:256])

    def apply(self, raw: np.ndarray, path: str | Path) -> np.ndarray:
        """Translates a mask.

        Args:
            raw: raw labels, integer [H,W].
            path: the mask's file, for the error.

        Returns:
            uint8 [H,W]: class indices and IGNORE.

        Raises:
            LabelError: names the labels that no class covers.
        """
        if raw.dtype == np.uint8:
            labels = cv2.LUT(raw, self._narrow)
        elif raw.dtype == np.uint16:
            labels = self._wide.take(raw)
        else:
            is_inside = (raw >= 0) & (raw < 65536)
            labels = np.where(is_inside, self._wide.take(np.where(is_inside, raw, 0)), np.uint8(BAD))
            for value, index in self._outside.items():
                labels[raw == value] = index
        if (labels == BAD).any():
            raise self._error(raw, labels == BAD, str(path))
        return labels

    def _error(self, raw: np.ndarray, is_bad: np.ndarray, path: str) -> LabelError:
        values = tuple(int(value) for value in np.unique(raw[is_bad]))
        y, x = (int(positions[0]) for positions in np.nonzero(is_bad))
        named = ", ".join(str(value) for value in values[:8]) + (", ..." if len(values) > 8 else "")
        word = "label" if len(values) == 1 else "labels"
        rule = f"ignored: {', '.join(map(str, self.ignored)) or 'none'}"
        message = f"{path}: {word} {named} (first at x={x}, y={y}) beyond the {self.num_classes} classes ({rule}); "
        return LabelError(message + self.remedy(values), path, values)

    @property
    def color_remedy(self) -> str:
        """What to do about a color-coded mask."""
        if self.source:
            return f"{self.source} has one number per pixel: {COLOR_REMEDY}"
        return "set color_masks=True and give each class its color in palette"

    def remedy(self, values: tuple) -> str:
        """Says what to change in the config for raw labels that no class covers."""
        if self.source:
            return f"{self.source} has no such label: check the file, or read the folder with type='Folder'"
        if values == (255,) and self.num_classes == 2:
            return "a mask saved as 0 and 255 needs label_map={255: 1}"
        if values == (self.num_classes,):
            return "reduce_zero_label=True if 0 means unlabelled and classes count from 1; else name one more class"
        return f"map them with label_map={{{values[0]}: ...}}, leave them out with ignore, or name more classes"


def _numbers(label_map: Mapping | None) -> dict[int, int | str | None]:
    """The entries of label_map whose keys are no colors."""
    return {raw_label(key): target for key, target in (label_map or {}).items() if as_color(key) is None}


class ColorTable:
    """Turns colors into class indices 0..K-1 and IGNORE, by one look-up per pixel in a table of all 2^24 colors.

    Args:
        classes: K names.
        palette: the K colors of the classes, all different; empty where `label_map` names the colors.
        label_map: {color: class index, class name or "ignore"}, beside the palette or in its place.
        tolerance: a color that is none of these counts as the nearest of them where no channel differs by more.

    Raises:
        DataError: where two classes have the same color, or a key of `label_map` is no color.
    """

    def __init__(
        self,
        classes: Sequence[str],
        palette: Sequence[Color],
        label_map: Mapping | None = None,
        *,
        tolerance: int = 0,
    ):
        self.tolerance = tolerance
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

    def __getstate__(self) -> dict:
        """Processes that read get the colors alone, and make the table anew."""
        return {name: value for name, value in vars(self).items() if name != "_table"}

    @cached_property
    def _table(self) -> np.ndarray:
        """uint8 [2^24] by r + 256 g + 65536 b; made at the first mask, so that readers without colors pay nothing."""
        table = np.full(1 << 24, BAD, np.uint8)
        for (red, green, blue), label in self.labels.items():
            table[red | green << 8 | blue << 16] = label
        return table

    def apply(self, colors: np.ndarray, path: str | Path) -> np.ndarray:
        """Translates a color-coded mask.

        Args:
            colors: uint8 [H,W,3] RGB.
            path: the mask's file, for the error.

        Returns:
            uint8 [H,W]: class indices and IGNORE.

        Raises:
            LabelError: names the first color that nothing covers.
        """
        labels, is_bad, _ = self.nearest(colors)
        if is_bad.any():
            packed = _packed(colors)
            y, x = (int(positions[0]) for positions in np.nonzero(is_bad))
            values = tuple((int(v) & 255, int(v) >> 8 & 255, int(v) >> 16) for v in np.unique(packed[is_bad]))
            more = f" and {len(values) - 1} more" if len(values) > 1 else ""
            color = tuple(int(channel) for channel in colors[y, x])
            raise LabelError(
                f"{path}: the color {color} at x={x}, y={y}{more} belongs to no class; correct palette, or "
                f"map it with label_map={{'#{bytes(color).hex()}': 'ignore'}}; soft edges come from resizing: "
                "tolerance=N takes the nearest color",
                str(path),
                values,
            )
        return labels

    def nearest(self, colors: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
        """Translates a color-coded mask as far as the colors and the tolerance go.

        Args:
            colors: uint8 [H,W,3] RGB.

        Returns:
            uint8 [H,W] of class indices and IGNORE; bool [H,W] of the pixels that belong to no class; and how many
            pixels got the class of the nearest color instead of their own.
        """
        labels = self._table.take(_packed(colors))
        is_bad = labels == BAD
        if not self.tolerance or not is_bad.any():
            return labels, is_bad, 0
        known = np.array([*self.labels], np.int16)
        found, inverse = np.unique(colors[is_bad], axis=0, return_inverse=True)
        nearest = np.empty(len(found), np.int64)
        distance = np.empty(len(found), np.int16)
        for start in range(0, len(found), 4096):  # a photograph in place of a mask has a color for each pixel
            apart = np.abs(found[start : start + 4096, None].astype(np.int16) - known).max(axis=2)
            nearest[start : start + 4096] = apart.argmin(axis=1)
            distance[start : start + 4096] = apart.min(axis=1)
        targets = np.array([*self.labels.values()], np.uint8)[nearest]
        targets[distance > self.tolerance] = BAD
        labels[is_bad] = targets[inverse.ravel()]
        still_bad = labels == BAD
        return labels, still_bad, int(is_bad.sum() - still_bad.sum())


def _packed(colors: np.ndarray) -> np.ndarray:
    """The colors as r + 256 g + 65536 b."""
    return cv2.cvtColor(colors, cv2.COLOR_RGB2RGBA).view("<u4")[:, :, 0] & 0xFFFFFF
