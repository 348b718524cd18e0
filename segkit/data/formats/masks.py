"""Folders of masks: a number or a color per pixel, 0 and 255, one bit, and masks with soft edges.

A legend (class_dict.csv, label_colors.txt, labelmap.txt, classes.txt ...) names the values; without one the masks are
looked at. H W image, K classes.
"""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import cv2
import numpy as np

from segkit.data.files.dicom import is_dicom, read_dicom_numbers
from segkit.data.files.headers import JPEG_START
from segkit.data.files.labels import BAD, MAX_CLASSES, ColorTable
from segkit.data.files.masks import picture, read_colors, read_mask
from segkit.data.files.pairs import some
from segkit.data.formats.base import LabelledImage, LabelReader, LabelWriter, Written
from segkit.data.formats.common import BACKGROUND, stored_size
from segkit.data.formats.draw import draw_classes
from segkit.data.formats.legend import Legend, find_legend, legend_text
from segkit.data.formats.masks_layout import Pair, find_layout, split_lists
from segkit.data.formats.object_numbers import OBJECT, are_object_numbers, shapes_of
from segkit.files import DataError, open_regular, read_bytes, whole_file, write_whole
from segkit.types import IGNORE, Color, default_palette

MOST_READ = 300
"""Masks that are looked at for their values; of more, so many with equal distances between them."""

TOLERANCE = 48
"""How far a channel of a soft edge's color may be from that of its class; what is further from all is ignored."""

MOST_EXACT = 32
"""Colors that are taken for as many classes; more of them mean that edges are soft."""

LEAST_BLENDS, BLEND = 3, 3
"""Colors that fill no area and lie between two that do, from which on fewer colors mean soft edges too; and how far a
channel of theirs may be from that line."""

LEAST_SHARE = 0.0005
"""Least share of the pixels within areas of one color, of a color that is a class where edges are soft."""

COMPACT = 64
"""Numbers below this are classes; larger ones are grey values that stand for classes."""

HALF = 128
"""Grey value from which on a soft-edged mask of 0 and 255 counts as the object."""

SOFT_COLORS = "pixels of soft edges, which got the nearest class"
NO_CLASS = "pixels of colors far from all classes, which are ignored"
SOFT_GREYS = "pixels of soft edges between 0 and 255, cut at 128"


class Meaning(NamedTuple):
    """What the values of masks mean.

    Args:
        classes: K names.
        colors: {color: class or "ignore"}; empty where the masks hold numbers.
        values: {number: class index or IGNORE}.
        is_soft: whether colors in between are brought to the nearest one, and greys are cut in the middle.
        words: in a few words, for notes.
        are_objects: whether the values number the objects of the one class.
    """

    classes: tuple[str, ...]
    colors: Mapping[Color, str]
    values: Mapping[int, int]
    is_soft: bool
    words: str
    are_objects: bool = False


class MasksReader(LabelReader):
    """Maps of classes in picture files, beside images."""

    format = "masks"

    def __init__(self, root: Path, pairs: Sequence[Pair], meaning: Meaning, lost: Sequence[str]):
        super().__init__()
        self.classes, self._meaning = meaning.classes, meaning
        self.images = [pair.image for pair in pairs]
        self._masks = [pair.mask for pair in pairs]
        self._table = None
        if meaning.colors:
            tolerance = TOLERANCE if meaning.is_soft else 0
            self._table = ColorTable(self.classes, (), meaning.colors, tolerance=tolerance)
        splits: dict[str, list[int]] = {}
        for number, pair in enumerate(pairs):
            splits.setdefault(pair.split, []).append(number)
        self.splits = split_lists(root, self.images) or ({} if "" in splits else splits)
        notes = [meaning.words]
        if lost:
            notes.append(f"{len(lost)} masks have no image and are left out: {some(lost, 3)}")
        bare = [str(pair.image) for pair in pairs if pair.mask is None]
        if bare:
            notes.append(f"{len(bare)} images have no mask: {some(bare, 3)}")
        self.notes = tuple(notes)

    @classmethod
    def sniff(cls, root: Path) -> str | None:
        layout = find_layout(root)
        return None if layout is None else layout.evidence

    @classmethod
    def open(cls, root: Path) -> "MasksReader":
        layout = find_layout(root)
        if layout is None:
            raise DataError(
                f"{root}: no image with a mask here; expected images/NAME.jpg with masks/NAME.png, or NAME_mask.png "
                "beside NAME.jpg; give the folder that holds both"
            )
        masks = [pair.mask for pair in layout.pairs if pair.mask is not None]
        return cls(root, layout.pairs, meaning_of(root, masks), layout.lost)

    def is_labelled(self, index: int) -> bool:
        return self._masks[index] is not None

    def label_file(self, index: int) -> Path | None:
        return self._masks[index]

    def item(self, index: int) -> LabelledImage:
        image, mask = Path(self.images[index]), self._masks[index]
        if mask is None:
            return LabelledImage(image, stored_size(image), is_labelled=False)
        if self._meaning.are_objects:
            numbers = _numbers(mask)
            return LabelledImage(image, (numbers.shape[0], numbers.shape[1]), shapes_of(numbers))
        label_map = self._of_numbers(mask) if self._table is None else self._of_colors(self._table, mask)
        return LabelledImage(image, (label_map.shape[0], label_map.shape[1]), label_map=label_map)

    def _of_colors(self, table: ColorTable, mask: Path) -> np.ndarray:
        colors = _colors(mask)
        if not table.tolerance:
            return table.apply(colors, mask)
        labels, is_bad, count = table.nearest(colors)
        labels[is_bad] = IGNORE
        self._count(SOFT_COLORS, count)
        self._count(NO_CLASS, int(is_bad.sum()))
        return labels

    def _of_numbers(self, mask: Path) -> np.ndarray:
        numbers = _numbers(mask)
        if self._meaning.is_soft:
            self._count(SOFT_GREYS, int(((numbers > 0) & (numbers < 255)).sum()))
            return (numbers >= HALF).astype(np.uint8)
        table = np.full(1 << 16, BAD, np.uint8)
        table[[*self._meaning.values]] = [*self._meaning.values.values()]
        labels = np.where((numbers >= 0) & (numbers < 1 << 16), table.take(numbers, mode="clip"), BAD)
        if (labels == BAD).any():
            y, x = (int(positions[0]) for positions in np.nonzero(labels == BAD))
            known = some([*map(str, self._meaning.values)], 8)
            raise DataError(
                f"{mask}: value {int(numbers[y, x])} at x={x}, y={y} is no class; those are {known}; "
                "correct the mask, or name all values in classes.csv beside the folders, a line NAME,VALUE for each"
            )
        return labels

    def _count(self, words: str, count: int) -> None:
        if count:
            self.lost[words] += count


def _is_jpeg(path: Path) -> bool:
    with open_regular(path) as file:
        return file.read(3) == JPEG_START


def _colors(path: Path) -> np.ndarray:
    """The colors of a mask, uint8 [H,W,3]; a JPEG has soft edges like any other."""
    return picture(read_bytes(path), path) if _is_jpeg(path) else read_colors(path)


def _numbers(path: Path) -> np.ndarray:
    if is_dicom(path):
        return read_dicom_numbers(path)
    return _colors(path)[:, :, 0] if _is_jpeg(path) else read_mask(path)


def _is_grey(path: Path) -> bool:
    """Whether a mask has numbers: one channel, a palette, or three equal channels."""
    if is_dicom(path):
        return True
    if _is_jpeg(path):
        colors = _colors(path).astype(np.int16)
        return bool(np.abs(colors - colors[:, :, :1]).max() <= TOLERANCE // 4)
    try:
        read_mask(path)
    except DataError as error:
        if "color-coded" in str(error):
            return False
        raise
    return True


def meaning_of(root: Path, masks: Sequence[Path]) -> Meaning:
    """Finds out what the values of masks mean, by the legend, else by looking at them.

    Args:
        root: folder of the legend.
        masks: files of all masks.

    Raises:
        DataError: there are too many values for classes, or a mask cannot be read.
    """
    step = max(1, len(masks) // MOST_READ)
    seen = list(masks[::step])
    legend = find_legend(root)
    if legend is not None and legend.colors:
        colors = {color: name for color, name in legend.label_map.items() if isinstance(color, tuple)}
        is_soft = _has_others(seen, set(colors))
        return Meaning(legend.classes, colors, {}, is_soft, f"colors of {legend.path.name}" + SOFT * is_soft)
    if legend is None and not all(_is_grey(path) for path in seen):
        return _of_colors(seen)
    counts: Counter[int] = Counter()
    for path in seen:
        counts.update(dict(zip(*(part.tolist() for part in np.unique(_numbers(path), return_counts=True)))))
    if legend is not None:
        return _of_legend(legend, set(counts))
    if {1, 2, 3} <= counts.keys() and min(counts) == 0 and are_object_numbers(seen, _numbers):
        return Meaning((OBJECT,), {}, {}, False, OBJECT_NUMBERS, are_objects=True)
    return _of_numbers(root, counts, are_jpegs=any(_is_jpeg(path) for path in seen))


SOFT = ", with soft edges"
OBJECT_NUMBERS = "values number the objects of an image, from 1; if they are classes, name them in classes.txt"


def _of_legend(legend: Legend, found: set[int]) -> Meaning:
    if len(legend.classes) == 2 and legend.values == (0, 1) and found <= {0, 255}:
        return Meaning(legend.classes, {}, {0: 0, 255: 1}, False, f"0 and 255, by the names of {legend.path.name}")
    index_of = {name: number for number, name in enumerate(legend.classes)}
    values = {int(value): index_of.get(name, IGNORE) for value, name in zip(legend.values, legend.names)}
    values.setdefault(IGNORE, IGNORE)
    return Meaning(legend.classes, {}, values, False, f"numbers of {legend.path.name}")


def _has_others(masks: Sequence[Path], known: set[Color]) -> bool:
    packed = np.array([red | green << 8 | blue << 16 for red, green, blue in known])
    return any(not np.isin(_packed(_colors(path)), packed).all() for path in masks)


def _packed(colors: np.ndarray) -> np.ndarray:
    wide = colors.astype(np.int32)
    return wide[:, :, 0] | wide[:, :, 1] << 8 | wide[:, :, 2] << 16


def _of_colors(masks: Sequence[Path]) -> Meaning:
    """The colors that occur; where they are many, those that fill areas and stand apart from larger ones."""
    counts: Counter[int] = Counter()
    inner: Counter[int] = Counter()
    for path in masks:
        colors = _colors(path)
        packed = _packed(colors)
        for counter, chosen in ((counts, packed), (inner, packed[_is_inner(colors)])):
            counter.update(dict(zip(*(part.tolist() for part in np.unique(chosen, return_counts=True)))))
    is_soft = len(counts) > MOST_EXACT or _are_blends(counts, inner) or any(_is_jpeg(path) for path in masks)
    kept: list[Color] = []
    for number, count in (inner if is_soft else counts).most_common():
        color = (number & 255, number >> 8 & 255, number >> 16)
        is_rare = count < LEAST_SHARE * inner.total()
        if not is_soft or not (is_rare or any(_apart(color, other) <= TOLERANCE for other in kept)):
            kept.append(color)
    if not kept or len(kept) > MAX_CLASSES:
        raise DataError(
            f"{masks[0]}: {len(kept)} colors in {len(masks)} masks; name those of the classes in class_dict.csv beside "
            "the folders, a line NAME,R,G,B for each"
        )
    kept.sort()
    names = [BACKGROUND if color == (0, 0, 0) else f"#{bytes(color).hex()}" for color in kept]
    words = f"{len(kept)} colors{SOFT * is_soft}; name them in class_dict.csv (name,r,g,b)"
    return Meaning(tuple(names), dict(zip(kept, names)), {}, is_soft, words)


def _are_blends(counts: Mapping[int, int], inner: Counter[int]) -> bool:
    """Whether colors that fill no area are several, and each one a blend of two that do, as at soft edges."""
    least = LEAST_SHARE * inner.total()
    colors = {number: np.array([number & 255, number >> 8 & 255, number >> 16], np.float64) for number in counts}
    areas = [color for number, color in colors.items() if inner[number] >= least]
    rare = [color for number, color in colors.items() if inner[number] < least]
    lines = [(a, b) for number, a in enumerate(areas) for b in areas[:number]]
    return len(rare) >= LEAST_BLENDS and all(any(_is_between(color, *line) for line in lines) for color in rare)


def _is_between(color: np.ndarray, first: np.ndarray, last: np.ndarray) -> bool:
    along = last - first
    share = float(np.clip((color - first) @ along / (along @ along), 0, 1))
    return bool(np.abs(first + share * along - color).max() <= BLEND)


def _is_inner(colors: np.ndarray) -> np.ndarray:
    """bool [H,W]: pixels whose neighbours have their color, unlike those of soft edges."""
    square = np.ones((3, 3), np.uint8)
    return (cv2.erode(colors, square) == cv2.dilate(colors, square)).all(axis=2)


def _apart(first: Color, second: Color) -> int:
    return max(abs(a - b) for a, b in zip(first, second))


def _of_numbers(root: Path, counts: Counter[int], *, are_jpegs: bool) -> Meaning:
    """What numbers mean: classes, 0 and 255, 0 and 255 with soft edges, or grey values that stand for classes."""
    values = sorted(counts)
    if values[0] < 0:
        raise DataError(f"{root}: masks hold the value {values[0]}; values must be 0 or more")
    objects = [value for value in values if value]
    if len(objects) <= 1:
        pair = {0: 0} | dict.fromkeys(objects, 1)
        return Meaning(
            (BACKGROUND, "object"), {}, pair, False, f"values {some([*map(str, pair)], 2)}: background, object"
        )
    at_ends = sum(count for value, count in counts.items() if value < 16 or value > 239)
    if values[-1] <= 255 and (are_jpegs or len(values) > MOST_EXACT) and at_ends > 0.8 * counts.total():
        return Meaning((BACKGROUND, "object"), {}, {}, True, f"grey values 0 to 255 cut at {HALF}: background, object")
    inner = [value for value in objects if value != IGNORE]
    if inner and inner[-1] < COMPACT:
        names = (BACKGROUND, *(f"class {number}" for number in range(1, inner[-1] + 1)))
        numbers = {number: number for number in range(len(names))} | {IGNORE: IGNORE}
        return Meaning(names, {}, numbers, False, f"values 0 to {inner[-1]}; name them in classes.txt, a name per line")
    if len(values) > MOST_EXACT:
        raise DataError(
            f"{root}: {len(values)} different values in the masks, too many for classes; name the classes in "
            "classes.csv beside the folders, a line NAME,VALUE for each"
        )
    names = tuple(BACKGROUND if value == 0 else f"value {value}" for value in values)
    numbers = {value: number for number, value in enumerate(values)}
    return Meaning(names, {}, numbers, False, f"{len(values)} grey values; name them in classes.csv (NAME,VALUE)")


LEGEND = "classes.txt"
"""The names of the classes, beside the masks."""


class MasksWriter(LabelWriter):
    """Writes masks/NAME.png, a number per pixel with a palette to look at, beside images/, and classes.txt."""

    format = "masks"
    is_of_pixels = True

    def __init__(
        self, folder: Path, classes: Sequence[str], splits: Mapping[str, Sequence[str]] = MappingProxyType({})
    ):
        super().__init__(folder, classes, splits)
        self._legend = legend_text(self.classes, folder / LEGEND)  # before a mask is drawn

    def add(self, image: LabelledImage, name: str) -> None:
        drawn = draw_classes(image, self.classes)
        lost = self.written.lost
        lost["boxes without an outline, which are not drawn"] += drawn.boxes
        lost["pixels that objects of several classes share, which the upper one has"] += drawn.overlapped_pixels
        unknown = sum(shape.crowd and shape.label not in self.classes for shape in image.shapes)
        lost["crowds of no class, whose pixels are ignored"] += unknown
        lost["marks of crowds, whose pixels are of their class"] += sum(s.crowd for s in image.shapes) - unknown
        objects = sum(not shape.crowd and bool(shape.outlines or shape.mask) for shape in image.shapes)
        lost["objects that are no longer told apart from others of their class"] += objects
        write_indices(self.folder / "masks" / f"{os.path.splitext(name)[0]}.png", drawn.label_map)
        self.written.files += 1
        self.written.objects += objects

    def close(self) -> Written:
        write_whole(self.folder / LEGEND, self._legend)
        self.written.files += 1
        self.written.lost = +self.written.lost
        return self.written


def write_indices(path: Path, labels: np.ndarray) -> None:
    """Writes a palette PNG whose indices are the labels, uint8 [H,W]."""
    from PIL import Image

    picture_of = Image.fromarray(labels)
    picture_of.putpalette([channel for color in default_palette(256) for channel in color])
    with whole_file(path) as draft:
        picture_of.save(draft, format="PNG")
