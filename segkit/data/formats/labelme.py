"""labelme: a JSON file per image, with polygons, rectangles, circles and masks.

Format: https://github.com/wkentaro/labelme (labelme/_label_file.py, labelme/utils/shape.py).
"""

import base64
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import NamedTuple

import cv2
import numpy as np

from segkit.data.files.coco_json import draw
from segkit.data.files.pairs import some
from segkit.data.formats.base import LabelledImage, LabelWriter, Shape, Written
from segkit.data.formats.bitmaps import bitmap_of, code_of, from_base64, placed
from segkit.data.formats.common import background_of, stored_size
from segkit.data.formats.entries import (
    FEW,
    Entry,
    Record,
    box_between,
    corners_of,
    ellipse_outline,
    entries_of,
    entry_of,
    label_of,
    mixed_groups,
    points_of,
    read_entry,
    size_of,
    united,
)
from segkit.data.formats.gathered import FilePerImage, Gathered, all_files, evidence, folder_of
from segkit.files import DataError, brief, inside, write_whole
from segkit.types import IGNORE

IGNORED = "__ignore__"
"""Label of regions that are left out; labelme's own converters have it so."""

UNREAD = {"point": "points", "points": "points", "line": "lines", "linestrip": "lines"}
"""Words of `lost` for the forms that have no inside."""

MIXED = "groups of outlines and masks, read as two objects each"


class LabelmeReader(FilePerImage):
    """Labels of labelme, beside the images or in a folder of their own."""

    format = "labelme"

    def __init__(self, root: Path, files: Sequence[Path]) -> None:
        super().__init__()
        names: set[str] = set()
        others, self._labels = [], Gathered[Path](folder_of(root))
        for path in files:
            entry = read_entry(path)
            if not {"shapes", "imagePath"} <= entry.keys():
                others.append(path.name)
                continue
            found: Counter[str] = Counter()
            records = _records(entry, path, found)
            named = entry["imagePath"]
            if not isinstance(named, str):
                raise DataError(f"{path}: imagePath is {brief(named)}; must be the image's path as text")
            if self._labels.add(named, path, str(path), path.parent):
                self.lost += found
                names.update(record.label for record in records if record.label != IGNORED)
            elif isinstance(entry.get("imageData"), str):
                self._labels.missing[-1] += " (its pixels are in the label file alone: save the image from labelme)"
        self.classes = tuple(sorted(names))
        self._labels.add_bare()
        if others:
            self.notes = (f"{len(others)} files *.json hold no labels of labelme: {some(others, 3)}",)
        self._labels.finish(self)

    @classmethod
    def sniff(cls, root: Path) -> str | None:
        return evidence(root, ".json", _is_labelme, "'shapes' and 'imagePath'")

    @classmethod
    def open(cls, root: Path) -> "LabelmeReader":
        return cls(root, all_files(root, ".json"))

    def item(self, index: int) -> LabelledImage:
        image, path = self.images[index], self._labels.labels[index]
        if path is None:
            return LabelledImage(image, stored_size(image), is_labelled=False)
        entry = read_entry(path)
        height, width = entry.get("imageHeight"), entry.get("imageWidth")
        has_size = height is not None and width is not None
        size = size_of(height, width, str(path)) if has_size else stored_size(image)
        records = _records(entry, path, Counter())
        return LabelledImage(image, size, united(records, [_shape(record, size) for record in records]))


def _is_labelme(text: str) -> bool:
    return '"shapes"' in text and any(f'"{key}"' in text for key in ("imagePath", "imageHeight", "shape_type"))


def _records(entry: Entry, path: Path, lost: Counter[str]) -> list[Record]:
    """The objects of a file, and by `lost` what is none."""
    records = []
    for number, shape in enumerate(entries_of(entry.get("shapes"), f"{path}, shapes"), 1):
        source = f"{path}, shape {number}"
        label = label_of(shape.get("label"), source)
        source, kind = f"{source} ('{label}')", shape.get("shape_type") or "polygon"
        points, group = shape.get("points"), shape.get("group_id")
        lost["flags"] += sum(value is True for value in _flags(shape, source).values())
        lost["descriptions"] += bool(shape.get("description"))
        if str(kind) in UNREAD:
            lost[UNREAD[str(kind)]] += 1
        elif kind in ("polygon", "oriented_rectangle") and isinstance(points, list) and len(points) < 3:
            lost[FEW] += 1
        elif kind in ("polygon", "oriented_rectangle", "rectangle", "circle", "mask"):
            records.append(Record(label, str(kind), shape, source, None if group is None else str(group)))
        else:
            raise DataError(f"{source}: shape_type {brief(kind)} is unknown; draw it as a polygon")
    lost["flags"] += sum(value is True for value in _flags(entry, str(path)).values())
    lost[MIXED] += mixed_groups(records, ("mask",))
    for key in [key for key, count in lost.items() if not count]:
        del lost[key]
    return records


def _flags(entry: Entry, source: str) -> Entry:
    flags = entry.get("flags")
    return entry_of(flags, f"{source}, flags") if flags else {}


def _shape(record: Record, size: tuple[int, int]) -> Shape:
    label, source = record.label, record.source
    is_crowd = label == IGNORED
    points = record.entry.get("points")
    if record.kind == "mask":
        (x0, y0), (x1, y1) = points_of(points, 2, source)
        mask = bitmap_of(from_base64(record.entry.get("mask"), source), size, source)
        left, top, right, bottom = (int(side) for side in (x0, y0, x1, y1))
        # the last column and row belong to the mask, unlike in a box
        if (bottom - top + 1, right - left + 1) != mask.shape:
            raise DataError(
                f"{source}: a mask of {mask.shape[1]}x{mask.shape[0]} pixels in a frame of "
                f"{right - left + 1}x{bottom - top + 1}; draw it again"
            )
        return Shape(label, mask=placed(mask, (left, top), size), crowd=is_crowd)
    if record.kind == "circle":
        (x, y), (x1, y1) = points_of(points, 2, source)
        radius = float(np.hypot(x1 - x, y1 - y))
        return Shape(label, (ellipse_outline((x, y), (radius, radius), source),), crowd=is_crowd)
    if record.kind == "rectangle" and not (isinstance(points, list) and len(points) == 4):
        first, second = points_of(points, 2, source)
        return Shape(label, box=box_between(first, second), crowd=is_crowd)
    return Shape(label, (corners_of(points, source),), crowd=is_crowd)


class _Piece(NamedTuple):
    """A shape of labelme: its form, its points, and its mask as base64."""

    kind: str
    points: list[list[float]]
    mask: str | None = None


class LabelmeWriter(LabelWriter):
    """Writes a JSON file beside each image, in the folder's images.

    Objects of several pieces are shapes of one group; an object with holes is a mask; a map of classes is a mask for
    each class but the background.

    Args:
        folder: see LabelWriter.
        classes: see LabelWriter.
        splits: see LabelWriter.
    """

    format = "labelme"

    def __init__(
        self, folder: Path, classes: Sequence[str], splits: Mapping[str, Sequence[str]] = MappingProxyType({})
    ):
        super().__init__(folder, classes, splits)
        self._names: dict[str, str] = {}

    def add(self, image: LabelledImage, name: str) -> None:
        inside(self.folder, name, self.folder)
        file = PurePosixPath(name).with_suffix(".json").as_posix()
        if file in self._names:
            raise DataError(f"{name} and {self._names[file]}: both would have the labels {file}; rename one of them")
        self._names[file] = name
        if not image.is_labelled:
            return
        shapes: list[dict[str, object]] = []
        for number, shape in enumerate((*image.shapes, *_regions(image, self.classes)), 1):
            pieces = _pieces(shape, image.size)
            self.written.objects += 1
            self.written.lost["marks of crowds"] += shape.crowd and shape.label != IGNORED
            group = number if len(pieces) > 1 else None
            for piece in pieces:
                row: dict[str, object] = dict(label=shape.label, points=piece.points, group_id=group, description="")
                shapes.append(row | dict(shape_type=piece.kind, flags={}, mask=piece.mask))
        height, width = image.size
        content: dict[str, object] = dict(
            version="5.5.0", flags={}, shapes=shapes, imagePath=PurePosixPath(name).name, imageData=None
        )
        content |= {"imageHeight": height, "imageWidth": width}
        write_whole(self.folder / self.image_folder / file, json.dumps(content, ensure_ascii=False, indent=2))
        self.written.files += 1

    def close(self) -> Written:
        lost = self.written.lost
        self.written.lost = Counter({key: count for key, count in lost.items() if count})
        return self.written


def _regions(image: LabelledImage, classes: Sequence[str]) -> list[Shape]:
    """The classes of a label map but the background, and what is to be ignored, as masks."""
    if image.label_map is None or image.shapes:
        return []
    regions = []
    for label in np.unique(image.label_map).tolist():
        if label != background_of(classes) and (label == IGNORE or label < len(classes)):
            name = IGNORED if label == IGNORE else classes[label]
            regions.append(Shape(name, mask=code_of(image.label_map == label), crowd=label == IGNORE))
    return regions


def _pieces(shape: Shape, size: tuple[int, int]) -> list[_Piece]:
    if shape.mask is None and not shape.outlines:
        x0, y0, x1, y1 = shape.box or (0.0, 0.0, 0.0, 0.0)
        return [_Piece("rectangle", [[x0, y0], [x1, y1]])]
    if shape.mask is None and not shape.holes:
        return [_Piece("polygon", outline.tolist()) for outline in shape.outlines]
    return [_mask_piece(shape, size)]


def _mask_piece(shape: Shape, size: tuple[int, int]) -> _Piece:
    """A mask, or outlines with holes drawn as one."""
    if shape.mask is not None:
        mask = draw(shape.mask, *size)
    else:
        mask = draw([outline.ravel().tolist() for outline in shape.outlines], *size)
        mask &= ~draw([hole.ravel().tolist() for hole in shape.holes], *size)
    ys, xs = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    top, bottom = (int(ys[0]), int(ys[-1])) if len(ys) else (0, 0)
    left, right = (int(xs[0]), int(xs[-1])) if len(xs) else (0, 0)
    _, png = cv2.imencode(".png", mask[top : bottom + 1, left : right + 1].astype(np.uint8) * 255)
    frame = [[float(left), float(top)], [float(right), float(bottom)]]
    return _Piece("mask", frame, base64.b64encode(png.tobytes()).decode("ascii"))
