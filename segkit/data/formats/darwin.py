"""V7 Darwin JSON 2.0: a file per image or video, with polygons of several paths, boxes and raster layers.

Format: https://docs.v7labs.com/reference/darwin-json
"""

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from segkit.data.files.coco_json import draw
from segkit.data.files.images import IMAGE_SUFFIXES
from segkit.data.files.pairs import some
from segkit.data.formats.base import LabelledImage, LabelReader, Shape
from segkit.data.formats.bitmaps import code_of
from segkit.data.formats.common import stored_size
from segkit.data.formats.darwin_video import (
    Track,
    annotations_at,
    frame_images,
    missing_frames,
    tracks_of,
    video_of,
)
from segkit.data.formats.entries import (
    FEW,
    REMEDY,
    Entry,
    Record,
    corners_of,
    ellipse_outline,
    entries_of,
    entry_of,
    label_of,
    number_of,
    read_entry,
    size_of,
    turned,
    whole_of,
)
from segkit.data.formats.gathered import Gathered, all_files, evidence, folder_of
from segkit.files import DataError, brief

FORMS = ("polygon", "mask", "ellipse", "bounding_box")
"""Keys of an annotation that state its form; a polygon has a box beside it."""

UNREAD = {"line": "lines", "keypoint": "points", "skeleton": "skeletons", "cuboid": "cuboids", "tag": "tags"}
"""Words of `lost` for the forms that have no inside."""

MARKS = ("attributes", "instance_id", "text", "properties", "directional_vector", "inference")
MOST_PATHS = 10_000


class _Item(NamedTuple):
    """The image of a file: its size where it is stated, and the name of its slot."""

    named: str
    size: tuple[int, int] | None
    slot: str


class _Frame(NamedTuple):
    """A frame of a video: the file, its number, and its annotations as those of an image."""

    path: Path
    number: int
    item: _Item
    entry: Entry


class DarwinReader(LabelReader):
    """Labels of V7 Darwin, beside the images or in a folder of their own."""

    format = "darwin"

    def __init__(self, root: Path, files: Sequence[Path]) -> None:
        super().__init__()
        self._labels = Gathered[Path | _Frame](folder_of(root))
        self._names: set[str] = set()
        others = []
        for path in files:
            entry = read_entry(path)
            if "item" not in entry or "annotations" not in entry:
                others.append(path.name)
            elif video_of(entry, path) is not None:
                self._add_video(entry, path, is_alone=len(files) == 1)
            else:
                self._add_image(entry, path)
        self.classes = tuple(sorted(self._names))
        if others:
            self.notes = (*self.notes, f"{len(others)} files *.json hold no labels of Darwin 2.0: {some(others, 3)}")
        self._labels.add_bare()
        self._labels.finish(self)

    @classmethod
    def sniff(cls, root: Path) -> str | None:
        return evidence(root, ".json", _is_darwin, "an 'item' of Darwin 2.0")

    @classmethod
    def open(cls, root: Path) -> "DarwinReader":
        return cls(root, all_files(root, ".json"))

    def is_labelled(self, index: int) -> bool:
        return self._labels.labels[index] is not None

    def label_file(self, index: int) -> Path | None:
        labels = self._labels.labels[index]
        return labels.path if isinstance(labels, _Frame) else labels

    def item(self, index: int) -> LabelledImage:
        image, labels = self.images[index], self._labels.labels[index]
        if labels is None:
            return LabelledImage(image, stored_size(image), is_labelled=False)
        if isinstance(labels, _Frame):
            entry, item, source = labels.entry, labels.item, f"{labels.path}, frame {labels.number}"
        else:
            entry, source = read_entry(labels), str(labels)
            found = _item(entry, labels)
            assert found is not None, "files of other items are passed over"
            item = found
        size = item.size or stored_size(image)
        layer = _layer(entry, item, size, source)
        records = _records(entry, item, source, Counter())
        return LabelledImage(image, size, tuple(_shape(record, layer, size) for record in records))

    def _add_image(self, entry: Entry, path: Path) -> None:
        found: Counter[str] = Counter()
        item = _item(entry, path)
        if item is None:
            self.lost["items that are no images"] += 1
            return
        records = _records(entry, item, str(path), found)
        if self._labels.add(item.named, path, str(path)):
            self.lost += found
            self._names.update(record.label for record in records)

    def _add_video(self, entry: Entry, path: Path, *, is_alone: bool) -> None:
        """Takes the frames of a video that are images below the folder."""
        video = video_of(entry, path)
        assert video is not None, "asked by the caller"
        images = frame_images(video, self._labels.pictures, path, is_alone=is_alone)
        if not images:
            self._labels.missing.append(f"{video.name}/0000000.png (a frame of {path.name})")
            return
        at = f"{path}, item.slots"
        size = None if video.height is None or video.width is None else size_of(video.height, video.width, at)
        tracks: list[Track] = tracks_of(entry, (*FORMS, *UNREAD, "raster_layer"), path)
        for number, image in sorted(images.items()):
            item, source = _Item(str(image), size, video.slot), f"{path}, frame {number}"
            shown: Entry = {"annotations": annotations_at(tracks, number, self.lost)}
            records = _records(shown, item, source, self.lost)
            self._names.update(record.label for record in records)
            self._labels.add(str(image), _Frame(path, number, item, shown), source)
        missing = missing_frames(tracks, images)
        if missing:
            named = some([*map(str, missing)], 3)
            self.notes = (*self.notes, f"{path.name}: {len(missing)} labelled frames have no image: {named}")


def _is_darwin(text: str) -> bool:
    return '"version"' in text and '"item"' in text and '"slots"' in text


def _item(entry: Entry, path: Path) -> _Item | None:
    """The image of a file, by its first slot; None where that is a video or volume."""
    item = entry_of(entry.get("item"), f"{path}, item")
    slots = entries_of(item.get("slots"), f"{path}, item.slots")
    if not slots:
        raise DataError(f"{path}: item.slots is empty; export the data set as Darwin JSON 2.0")
    slot = slots[0]
    if slot.get("type", "image") != "image":
        return None
    sources = entries_of(slot.get("source_files"), f"{path}, item.slots")
    candidates = [item.get("name"), *(source.get("file_name") for source in sources), slot.get("file_name")]
    names = [name for name in candidates if isinstance(name, str) and name.lower().endswith(IMAGE_SUFFIXES)]
    if not names:
        raise DataError(f"{path}: item.name = {brief(item.get('name'))} is no image file; name it there")
    height, width = slot.get("height"), slot.get("width")
    size = None if height is None or width is None else size_of(height, width, f"{path}, item.slots")
    return _Item(f"{item.get('path') or ''}/{names[0]}", size, str(slot.get("slot_name", "0")))


def _is_of(annotation: Entry, item: _Item) -> bool:
    slots = annotation.get("slot_names")
    return not isinstance(slots, list) or not slots or item.slot in slots


def _records(entry: Entry, item: _Item, path: str, lost: Counter[str]) -> list[Record]:
    """The objects of an image, and by `lost` what is none."""
    records = []
    for number, annotation in enumerate(entries_of(entry.get("annotations"), f"{path}, annotations"), 1):
        source = f"{path}, annotation {number}"
        if "raster_layer" in annotation:
            continue
        if not _is_of(annotation, item):
            lost["objects of further slots"] += 1
            continue
        label = label_of(annotation.get("name"), source)
        source = f"{source} ('{label}')"
        lost["attributes"] += sum(bool(annotation.get(key)) for key in MARKS)
        kind = next((form for form in FORMS if form in annotation), "")
        unread = next((words for key, words in UNREAD.items() if key in annotation), "objects of other forms")
        if "frames" in annotation or not kind:
            lost["objects of videos" if "frames" in annotation else unread] += 1
        elif kind == "polygon" and not _paths(annotation, source):
            lost[FEW] += 1
        else:
            records.append(Record(label, kind, annotation, source))
    for key in [key for key, count in lost.items() if not count]:
        del lost[key]
    return records


def _layer(entry: Entry, item: _Item, size: tuple[int, int], path: str) -> dict[str, np.ndarray]:
    """The mask of each annotation that has one, bool [H,W], by the annotation's id."""
    masks: dict[str, np.ndarray] = {}
    for number, annotation in enumerate(entries_of(entry.get("annotations"), f"{path}, annotations"), 1):
        if "raster_layer" not in annotation or not _is_of(annotation, item):
            continue
        source = f"{path}, annotation {number} (raster layer)"
        layer = entry_of(annotation["raster_layer"], source)
        values = _unrolled(layer.get("dense_rle"), size, source)
        mapping = entry_of(layer.get("mask_annotation_ids_mapping"), f"{source}, mask_annotation_ids_mapping")
        for key, value in mapping.items():
            mask = values == whole_of(value, f"the value of {brief(key)}", source)
            masks[key] = masks[key] | mask if key in masks else mask
    return masks


def _unrolled(code: object, size: tuple[int, int], source: str) -> np.ndarray:
    """The values int64 [H,W] of a code [value, pixels, value, pixels, ...] along the rows."""
    try:
        if not isinstance(code, list) or len(code) % 2 or not all(type(number) is int for number in code):
            raise ValueError("it is no list of pairs of whole numbers")
        pairs = np.array(code, np.int64)
        values, counts = pairs[0::2], pairs[1::2]
        if counts.min(initial=0) < 0 or counts.max(initial=0) > size[0] * size[1]:
            raise ValueError("a run has no possible number of pixels")
        if counts.sum() != size[0] * size[1]:
            raise ValueError(f"its runs add up to {counts.sum()} pixels")
    except (ValueError, TypeError, OverflowError) as error:
        raise DataError(
            f"{source}: dense_rle does not fill the image of {size[1]}x{size[0]} ({error}); {REMEDY}"
        ) from error
    return np.repeat(values, counts).reshape(size)


def _shape(record: Record, masks: dict[str, np.ndarray], size: tuple[int, int]) -> Shape:
    label, entry, source = record.label, record.entry, record.source
    if record.kind == "mask":
        mask = masks.get(str(entry.get("id")))
        if mask is None:
            raise DataError(f"{source}: no raster layer holds the mask of {brief(entry.get('id'))}; {REMEDY}")
        return Shape(label, mask=code_of(mask))
    if record.kind == "polygon":
        return _nested(label, [corners_of(path, source) for path in _paths(entry, source)], size)
    if record.kind == "ellipse":
        ellipse = entry_of(entry.get("ellipse"), f"{source}, ellipse")
        center = _point(ellipse.get("center"), f"{source}, ellipse.center")
        radii = _point(ellipse.get("radius"), f"{source}, ellipse.radius")
        angle = math.degrees(number_of(ellipse.get("angle") or 0, "ellipse.angle", source))
        return Shape(label, (turned(ellipse_outline(center, radii, source), center, angle),))
    box = entry_of(entry.get("bounding_box"), f"{source}, bounding_box")
    x, y, width, height = (number_of(box.get(key), f"bounding_box.{key}", source) for key in ("x", "y", "w", "h"))
    return Shape(label, box=(x, y, x + width, y + height))


def _point(value: object, source: str) -> tuple[float, float]:
    point = entry_of(value, source)
    return number_of(point.get("x"), "x", source), number_of(point.get("y"), "y", source)


def _paths(entry: Entry, source: str) -> list[list[tuple[float, float]]]:
    """The paths of a polygon that have an inside."""
    polygon = entry_of(entry.get("polygon"), f"{source}, polygon")
    paths = polygon.get("paths")
    if not isinstance(paths, list) or len(paths) > MOST_PATHS:
        raise DataError(f"{source}: polygon.paths is {brief(paths)}; must be a list of at most {MOST_PATHS:,} paths")
    found = []
    for path in paths:
        corners = entries_of(path, f"{source}, a path")
        if len(corners) >= 3:
            found.append([(_coordinate(corner, "x"), _coordinate(corner, "y")) for corner in corners])
    return found


def _coordinate(corner: Entry, key: str) -> float:
    """As the file has it; corners_of says what is wrong with it."""
    value = corner.get(key)
    return value if isinstance(value, int | float) else math.nan


def _nested(label: str, paths: list[np.ndarray], size: tuple[int, int]) -> Shape:
    """An object of what an odd number of paths encloses: outlines and holes, or a mask where more paths nest."""
    depths = [sum(_encloses(other, path) for other in paths if other is not path) for path in paths]
    if max(depths) < 2:
        outlines = tuple(path for path, depth in zip(paths, depths) if depth == 0)
        return Shape(label, outlines, tuple(path for path, depth in zip(paths, depths) if depth == 1))
    mask = np.zeros(size, bool)
    for path in paths:
        mask ^= draw([path.ravel().tolist()], *size)
    return Shape(label, mask=code_of(mask))


def _encloses(outer: np.ndarray, inner: np.ndarray) -> bool:
    """Whether most corners of a path lie inside of another one."""
    if (outer.min(axis=0) > inner.min(axis=0)).any() or (outer.max(axis=0) < inner.max(axis=0)).any():
        return False
    contour = outer.astype(np.float32)
    return sum(cv2.pointPolygonTest(contour, (float(x), float(y)), False) for x, y in inner[:100]) > 0
