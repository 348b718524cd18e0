"""CVAT's XML: "CVAT for images 1.1" and the tracks of "CVAT for video 1.1".

Format: https://docs.cvat.ai/docs/dataset_management/formats/format-cvat/. CVAT's "Segmentation mask 1.1" has the layout
of Pascal VOC, and is read as such.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple
from xml.etree.ElementTree import Element

import numpy as np

from segkit.data.formats.base import LabelledImage, LabelReader, Shape
from segkit.data.formats.bitmaps import placed
from segkit.data.formats.common import stored_size
from segkit.data.formats.entries import (
    FEW,
    REMEDY,
    Entry,
    Record,
    box_between,
    corners_of,
    ellipse_outline,
    label_of,
    mixed_groups,
    number_of,
    outline_of_box,
    size_of,
    turned,
    united,
    whole_of,
)
from segkit.data.formats.gathered import Gathered, all_files, evidence, folder_of, splits_of
from segkit.data.formats.labelme import MIXED
from segkit.files import DataError, brief
from segkit.readers.xml_file import read_xml

FORMS = ("polygon", "box", "mask", "ellipse")
UNREAD = {"polyline": "lines", "points": "points", "cuboid": "cuboids", "skeleton": "skeletons", "tag": "tags"}
"""Words of `lost` for the elements that have no inside."""

NUMBER_AT_END = re.compile(r"(\d{1,12})$", re.ASCII)


class _Labels(NamedTuple):
    """The labels of an image: its size where the file states it, and its objects."""

    size: tuple[int, int] | None
    records: list[Record]


class CvatReader(LabelReader):
    """Labels of one or more XML files of CVAT."""

    format = "cvat"

    def __init__(self, root: Path, files: Sequence[Path]) -> None:
        super().__init__()
        self._labels = Gathered[_Labels](folder_of(root))
        names: dict[str, None] = {}
        subsets, empty = [], 0
        for path in files:
            tree = read_xml(path)
            if tree.tag != "annotations":
                continue
            names |= dict.fromkeys(_declared(tree))
            for number, image in enumerate(tree.iter("image"), 1):
                source = f"{path}, image {number}"
                named, size = image.get("name", ""), size_of(image.get("height"), image.get("width"), source)
                found: Counter[str] = Counter()
                records = _records(image, f"{source} ({brief(named)})", None, found)
                if self._labels.add(named, _Labels(size, records), source):
                    self.lost += found
                    subsets.append(image.get("subset", "").lower())
                    names |= dict.fromkeys(record.label for record in records)
                    empty += not records
            tracks = list(tree.iter("track"))
            if tracks:
                frames = _frames(tracks, str(path), self.lost)
                names |= dict.fromkeys(record.label for frame in frames.values() for record in frame)
                self._add_frames(frames, path)
        self.classes = tuple(names)
        if empty:
            self.notes = (f"{empty} images without an object count as images of background",)
        self._labels.finish(self)
        if len(subsets) == len(self.images):
            self.splits = splits_of(subsets)

    @classmethod
    def sniff(cls, root: Path) -> str | None:
        return evidence(root, ".xml", _is_cvat, "CVAT's annotations")

    @classmethod
    def open(cls, root: Path) -> "CvatReader":
        return cls(root, all_files(root, ".xml"))

    def is_labelled(self, index: int) -> bool:
        return True

    def item(self, index: int) -> LabelledImage:
        image, labels = self.images[index], self._labels.labels[index]
        assert labels is not None, "CVAT's files name every image, labelled or not"
        size = labels.size or stored_size(image)
        shapes = united(labels.records, [_shape(record, size) for record in labels.records])
        heights = {record.entry.get("z_order", "0") for record in labels.records}
        return LabelledImage(image, size, shapes, in_order=len(heights) > 1)

    def _add_frames(self, frames: dict[int, list[Record]], path: Path) -> None:
        """Takes the objects of tracks, if the frames of the video are images whose names end with their number."""
        numbered: dict[int, list[Path]] = {}
        for picture in self._labels.pictures:
            match = NUMBER_AT_END.search(picture.stem)
            if match:
                numbered.setdefault(int(match[1]), []).append(picture)
        missing = [number for number in frames if len(numbered.get(number, ())) != 1]
        if missing:
            found = len(numbered.get(missing[0], ()))
            raise DataError(
                f"{path}: tracks of a video, and {found} images below {self._labels.root} whose name ends with the "
                f"number of frame {missing[0]}; put the frames there as frame_{missing[0]:06d}.png, or export the "
                "task as 'CVAT for images 1.1' with its images"
            )
        for number, pictures in sorted(numbered.items()):
            if len(pictures) == 1:
                self._labels.add(str(pictures[0]), _Labels(None, frames.get(number, [])), f"{path}, frame {number}")


def _is_cvat(text: str) -> bool:
    return "<annotations" in text and ("<version>1.1" in text or "<image id=" in text or "<track id=" in text)


def _declared(tree: Element) -> Iterator[str]:
    """The names of the labels of a task, job or project; parts of skeletons are none."""
    for labels in (labels for meta in tree.iter("meta") for labels in meta.iter("labels")):
        for label in labels.iter("label"):
            name = (label.findtext("name") or "").strip()
            if name and not label.findtext("parent"):
                yield name


def _records(parent: Element, source: str, label: str | None, lost: Counter[str]) -> list[Record]:
    """The objects of an image, the lowest first, or of a track, all of whose elements have its label."""
    records = []
    for number, element in enumerate(parent, 1):
        if element.tag in UNREAD:
            lost[UNREAD[element.tag]] += 1
        elif element.tag in FORMS:
            place = f"{source}, {element.tag} {number}"
            name = label if label is not None else label_of(element.get("label"), place)
            lost["attributes"] += sum(bool((child.text or "").strip()) for child in element.iter("attribute"))
            lost["marks of being occluded"] += element.get("occluded") == "1"
            if element.tag == "polygon" and element.get("points", "").count(";") < 2:
                lost[FEW] += 1
                continue
            group = element.get("group_id")
            records.append(Record(name, element.tag, element.attrib, f"{place} ('{name}')", group if group else None))
    lost[MIXED] += mixed_groups(records, ("mask",)) if label is None else 0
    for key in [key for key, count in lost.items() if not count]:
        del lost[key]
    return sorted(records, key=lambda record: whole_of(record.entry.get("z_order", 0), "z_order", record.source))


def _frames(tracks: Sequence[Element], source: str, lost: Counter[str]) -> dict[int, list[Record]]:
    """The objects of each frame of a video."""
    frames: dict[int, list[Record]] = {}
    for number, track in enumerate(tracks, 1):
        place = f"{source}, track {number}"
        for record in _records(track, place, label_of(track.get("label"), place), lost):
            if record.entry.get("outside") != "1":
                frame = whole_of(record.entry.get("frame"), "frame", record.source)
                frames.setdefault(frame, []).append(record)
    return frames


def _shape(record: Record, size: tuple[int, int]) -> Shape:
    label, entry, source = record.label, record.entry, record.source
    if record.kind == "polygon":
        return Shape(label, (corners_of(_points(str(entry.get("points")), source), source),))
    if record.kind == "mask":
        corner = whole_of(entry.get("left"), "left", source), whole_of(entry.get("top"), "top", source)
        return Shape(label, mask=placed(_mask(entry, size, source), corner, size))
    degrees = number_of(entry.get("rotation") or 0, "rotation", source)
    if record.kind == "ellipse":
        x, y, rx, ry = (number_of(entry.get(key), key, source) for key in ("cx", "cy", "rx", "ry"))
        return Shape(label, (turned(ellipse_outline((x, y), (rx, ry), source), (x, y), degrees),))
    x0, y0, x1, y1 = (number_of(entry.get(key), key, source) for key in ("xtl", "ytl", "xbr", "ybr"))
    box = box_between((x0, y0), (x1, y1))
    if not degrees % 360:
        return Shape(label, box=box)
    return Shape(label, (turned(outline_of_box(box), ((x0 + x1) / 2, (y0 + y1) / 2), degrees),))


def _points(text: str, source: str) -> list[list[float]]:
    try:
        return [[float(number) for number in point.split(",")] for point in text.split(";")]
    except ValueError as error:
        raise DataError(f"{source}: points={brief(text)} must be 'x,y;x,y;...'; {REMEDY}") from error


def _mask(entry: Entry, size: tuple[int, int], source: str) -> np.ndarray:
    """bool [h,w] of run lengths along the rows of a frame, the first of them of what is outside."""
    height, width = size_of(entry.get("height"), entry.get("width"), source)
    try:
        runs = [int(number) for number in str(entry.get("rle")).split(",")]
    except ValueError as error:
        raise DataError(f"{source}: rle={brief(entry.get('rle'))} must be whole numbers; {REMEDY}") from error
    if height > size[0] or width > size[1] or min(runs) < 0 or sum(runs) != height * width:
        raise DataError(
            f"{source}: run lengths that add up to {brief(sum(runs))} in a frame of {width}x{height} pixels, of an "
            f"image of {size[1]}x{size[0]}; they must fill the frame, which lies in the image; {REMEDY}"
        )
    return np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(height, width)
