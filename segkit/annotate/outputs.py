"""What comes of annotating: masks as PNG, objects in COCO's format, and a log of the work. H W image."""

import csv
import io
import json
import struct
import threading
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from segkit.annotate.journal import last_record, whole_of
from segkit.annotate.objects import Object, Sheet
from segkit.annotate.project import Entry, Project
from segkit.annotate.region import rle_of
from segkit.annotate.tiles import class_rows
from segkit.data.files.headers import PNG_START
from segkit.data.formats.legend import legend_text
from segkit.files import DataError, parse_json, read_bytes, whole_file, write_whole
from segkit.types import Color

MASKS, OBJECTS, LOG, CLASSES = "masks", "objects.json", "annotate.log.csv", "classes.txt"

COLUMNS = ("image", "object", "class", "clicks", "seconds", "by", "source", "state")
"""Of the log."""

BAND = 1 << 22
"""Pixels of a mask that are drawn at once."""

REMEDY = "free space, or check the folder's rights; the journals hold everything"


class Finished(NamedTuple):
    """An image of the outputs.

    Attributes:
        size: (H, W).
        version: of its journal.
        rows: its objects as COCO's annotations, without ids.
        log: its lines of the log.
    """

    size: tuple[int, int]
    version: int
    rows: list[dict[str, Any]]
    log: list[list[Any]]


def write_index_png(path: Path, rows: Iterable[np.ndarray], size: tuple[int, int], palette: Sequence[Color]) -> None:
    """Writes a palette PNG row by row, so that a mask of any size takes little memory.

    Args:
        path: the file, which is whole or as before.
        rows: uint8 [n,W] each, from top to bottom.
        size: (H, W).
        palette: colors of the values 0, 1, ...

    Raises:
        DataError: it cannot be written.
    """
    with whole_file(path, REMEDY) as draft, open(draft, "wb") as file:
        file.write(PNG_START)
        _chunk(file, b"IHDR", struct.pack(">IIBBBBB", size[1], size[0], 8, 3, 0, 0, 0))
        _chunk(file, b"PLTE", bytes(channel for color in palette[:256] for channel in color))
        packer = zlib.compressobj(6)
        for part in rows:
            # each row begins with the number of its filter, 0 for none
            content = packer.compress(np.pad(part, ((0, 0), (1, 0))).tobytes())
            if content:
                _chunk(file, b"IDAT", content)
        _chunk(file, b"IDAT", packer.flush())
        _chunk(file, b"IEND", b"")


def _chunk(file: BinaryIO, kind: bytes, content: bytes) -> None:
    file.write(struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content)))


class Outputs:
    """Writes the results of a project. Files are whole or as before; one thread at a time writes.

    Args:
        project: what is annotated.
        entries: its images.
        load: gives size, version and sheet of an image from its journal.

    Raises:
        DataError: the name of a class cannot stand in classes.txt.
    """

    def __init__(
        self,
        project: Project,
        entries: Sequence[Entry],
        load: Callable[[Entry], tuple[tuple[int, int], int, Sheet]],
    ):
        self.project, self._load = project, load
        self._entries = {entry.name: entry for entry in entries}
        self._keys = {entry.key for entry in entries}
        self._legend = legend_text(project.value_names, project.out / CLASSES)
        self._lock = threading.Lock()
        self._finished: dict[str, Finished] = {}

    def start(self) -> None:
        """Takes over what objects.json holds already; what journals say beyond that is stale and written anew.

        Raises:
            DataError: a journal cannot be read, or a file not be written.
        """
        with self._lock:
            self._take_over()
            stale = [entry for entry in self._entries.values() if self.project.journal(entry).is_file()]
            self._update([entry for entry in stale if entry.name not in self._finished])
            self._write()

    def update(self, entries: Sequence[Entry]) -> dict[str, Any]:
        """Writes the masks of images and all lists.

        Args:
            entries: whose journals have grown.

        Returns:
            How many images and objects there are, and the folder.
        """
        with self._lock:
            self._update(entries)
            self._write()
            count = sum(len(item.rows) for item in self._finished.values())
            return {"images": len(self._finished), "objects": count, "folder": str(self.project.out)}

    def __len__(self) -> int:
        return len(self._finished)

    def _take_over(self) -> None:
        """Reads objects.json, which this program has written; one of another is no help."""
        path = self.project.out / OBJECTS
        try:
            content = parse_json(read_bytes(path), path)
            rows: dict[int, list[dict]] = {}
            for row in content["annotations"]:
                rows.setdefault(row["image_id"], []).append(row)
            for image in content["images"]:
                entry = self._entries[image["file_name"]]
                version, size = int(image["version"]), (int(image["height"]), int(image["width"]))
                if version == self._version(entry) and self._masks_of(entry, len(rows.get(image["id"], ()))):
                    log = [list(line) for line in image["log"]]
                    self._finished[entry.name] = Finished(size, version, rows.get(image["id"], []), log)
        except (DataError, KeyError, TypeError, ValueError, OverflowError, AttributeError):
            self._finished = {}

    def _version(self, entry: Entry) -> int:
        path = self.project.journal(entry)
        record = last_record(path) if path.is_file() else None
        return -1 if record is None else whole_of(record, "version", -1)

    def _masks_of(self, entry: Entry, count: int) -> bool:
        """Whether the masks of an image are there."""
        return all(path.is_file() for path in self._paths(entry, count))

    def _paths(self, entry: Entry, count: int) -> list[Path]:
        """The mask files of an image with so many objects."""
        folder = self.project.out / MASKS
        if self.project.kind != "clicks":
            return [folder / f"{entry.key}.png"]
        return [folder / f"{entry.key}_{number}.png" for number in self._numbers(entry, count)]

    def _numbers(self, entry: Entry, count: int) -> list[int]:
        """The numbers of an image's objects in names of files, without those that another image is named by."""
        numbers: list[int] = []
        number = 1
        while len(numbers) < count:
            if f"{entry.key}_{number}" not in self._keys:
                numbers.append(number)
            number += 1
        return numbers

    def _update(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            size, version, sheet = self._load(entry)
            before = self._finished.get(entry.name)
            items = [] if sheet.state == "rejected" else [item for item in sheet.layers if not item.mask.is_empty]
            self._write_masks(entry, size, items, sheet.state == "rejected")
            old = 0 if before is None else len(before.rows)
            for path in self._paths(entry, max(old, len(items)))[len(items) :] if self.project.kind == "clicks" else ():
                path.unlink(missing_ok=True)
            log = [
                [item.number, self.project.classes[item.label], item.num_clicks, round(item.seconds, 1), item.by]
                + [item.source, sheet.state]
                for item in items
            ]
            rows = [self._row(item, size) for item in items]
            self._finished[entry.name] = Finished(size, version, rows, log)

    def _row(self, item: Object, size: tuple[int, int]) -> dict[str, Any]:
        code = rle_of(item.mask, size)
        x0, y0, x1, y1 = item.mask.box
        counts = code["counts"]
        return {
            "category_id": item.label + 1,
            "iscrowd": 0,
            "area": item.mask.area,
            "bbox": [x0, y0, x1 - x0, y1 - y0],
            "segmentation": {
                "size": list(size),
                "counts": counts if isinstance(counts, str) else counts.decode("ascii"),
            },
            "score": 1.0 if item.score is None else item.score,
        }

    def _write_masks(self, entry: Entry, size: tuple[int, int], items: Sequence[Object], is_rejected: bool) -> None:
        project = self.project
        if is_rejected and project.kind != "clicks":
            self._paths(entry, 1)[0].unlink(missing_ok=True)
        elif project.kind != "clicks":
            rows = _rows(items, project.values, size)
            write_index_png(self._paths(entry, 1)[0], rows, size, project.value_colors)
        else:
            colors = [(0, 0, 0)] * 255 + [(255, 255, 255)]
            for path, item in zip(self._paths(entry, len(items)), items):
                write_index_png(path, _rows([item], [255] * len(project.classes), size), size, colors)

    def _write(self) -> None:
        """Writes objects.json, the log and the names of the classes."""
        project = self.project
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        text = io.StringIO()
        log = csv.writer(text, lineterminator="\n")
        log.writerow(COLUMNS)
        for name in self._entries:
            item = self._finished.get(name)
            if item is None:
                continue
            number = len(images) + 1
            height, width = item.size
            image = {"id": number, "file_name": name, "height": height, "width": width, "version": item.version}
            images.append(image | {"log": item.log})
            for row in item.rows:
                annotations.append({**row, "id": len(annotations) + 1, "image_id": number})
            log.writerows([_plain(value) for value in (name, *line)] for line in item.log)
        categories = [{"id": number, "name": name} for number, name in enumerate(project.classes, 1)]
        content = {"images": images, "annotations": annotations, "categories": categories}
        write_whole(project.out / OBJECTS, json.dumps(content), REMEDY)
        write_whole(project.out / LOG, text.getvalue(), REMEDY)
        write_whole(project.out / CLASSES, self._legend, REMEDY)


def _plain(value: Any) -> Any:
    """A value of the log; text that a spreadsheet would take for a formula begins with an apostrophe."""
    is_formula = isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r")
    return f"'{value}" if is_formula else value


def _rows(items: Sequence[Object], values: Sequence[int], size: tuple[int, int]) -> Iterator[np.ndarray]:
    """The map of classes from top to bottom."""
    count = max(1, BAND // size[1])
    for top in range(0, size[0], count):
        yield class_rows(items, values, (0, top, size[1], min(top + count, size[0])))
