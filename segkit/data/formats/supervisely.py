"""Supervisely's format: meta.json, and for each data set its images and a JSON file per image.

Format: https://docs.supervisely.com/data-organization/00_ann_format_navi. Whole numbers are numbers of pixels there, so
that a corner lies in the middle of its pixel, and a rectangle ends behind its last one.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from segkit.data.files.images import IMAGE_SUFFIXES
from segkit.data.files.pairs import walk_files
from segkit.data.formats.base import Box, LabelledImage, Shape
from segkit.data.formats.bitmaps import bitmap_of, from_base64, placed, unpacked
from segkit.data.formats.common import stored_size
from segkit.data.formats.entries import (
    FEW,
    Entry,
    Record,
    box_between,
    corners_of,
    entries_of,
    entry_of,
    label_of,
    points_of,
    read_entry,
    size_of,
    whole_of,
)
from segkit.data.formats.gathered import FilePerImage, Gathered, ends_of, splits_of
from segkit.files import DataError, brief

META = "meta.json"
LABELS, IMAGES = "ann", "img"
FORMS = ("bitmap", "alpha_mask", "polygon", "multipolygon", "rectangle")
UNREAD = {"point": "points", "line": "lines", "polyline": "lines", "graph": "skeletons", "cuboid": "cuboids"}
"""Words of `lost` for the forms that have no inside."""

PNG = b"\x89PNG"


class SuperviselyReader(FilePerImage):
    """The images and labels of a project."""

    format = "supervisely"

    def __init__(self, root: Path, meta: Path) -> None:
        super().__init__()
        source = f"{meta}, classes"
        classes = entries_of(read_entry(meta).get("classes"), source)
        names = dict.fromkeys(label_of(entry.get("title"), source) for entry in classes)
        self._labels = Gathered[Path](meta.parent)
        by_stem: dict[tuple[Path, str], str] = {}
        for picture in self._labels.pictures:
            by_stem.setdefault((picture.parent, picture.stem), picture.name)
        datasets = []
        for path in map(Path, walk_files(meta.parent, (".json",))):
            if path.parent.name != LABELS:
                continue
            images, found = path.parent.with_name(IMAGES), Counter[str]()
            entry = read_entry(path)
            records = _records(entry, path, found)
            named = path.name[: -len(".json")]
            if not named.lower().endswith(IMAGE_SUFFIXES):
                named = by_stem.get((images, named), named)
            if self._labels.add(named, path, str(path), images):
                self.lost += found
                names |= dict.fromkeys(record.label for record in records)
                datasets.append(path.parent.parent.name.lower())
        self.classes = tuple(names)
        self.splits = splits_of(datasets)
        self._labels.add_bare()
        self._labels.finish(self)

    @classmethod
    def sniff(cls, root: Path) -> str | None:
        meta = _meta_of(root)
        is_project = meta is not None and '"classes"' in ends_of(meta) and any(_label_folders(meta.parent))
        return f"{META} with 'classes' beside folders {IMAGES} and {LABELS}" if is_project else None

    @classmethod
    def open(cls, root: Path) -> "SuperviselyReader":
        meta = _meta_of(root)
        if meta is None:
            raise DataError(f"{root}: no {META} here or in one folder below; give the folder of the project")
        return cls(root, meta)

    def item(self, index: int) -> LabelledImage:
        image, path = self.images[index], self._labels.labels[index]
        if path is None:
            return LabelledImage(image, stored_size(image), is_labelled=False)
        entry = read_entry(path)
        stated = entry_of(entry.get("size"), f"{path}, size")
        size = size_of(stated.get("height"), stated.get("width"), f"{path}, size")
        return LabelledImage(image, size, tuple(_shape(record, size) for record in _records(entry, path, Counter())))


def _meta_of(root: Path) -> Path | None:
    """meta.json of a folder, of the single folder below it that has one, or the file itself."""
    if root.is_file():
        return root if root.name == META else None
    found = [root / META] if (root / META).is_file() else sorted(root.glob(f"*/{META}"))[:2]
    if len(found) > 1:
        return None
    return found[0] if found else None


def _label_folders(project: Path) -> list[Path]:
    return [path for pattern in (f"*/{LABELS}", f"*/*/*/{LABELS}") for path in project.glob(pattern) if path.is_dir()]


def _records(entry: Entry, path: Path, lost: Counter[str]) -> list[Record]:
    """The objects of a file, and by `lost` what is none."""
    records = []
    lost["tags"] += len(entries_of(entry.get("tags"), f"{path}, tags"))
    for number, item in enumerate(entries_of(entry.get("objects"), f"{path}, objects"), 1):
        source = f"{path}, object {number}"
        label = label_of(item.get("classTitle"), source)
        # the first files of the tool state no form
        kind = str(item.get("geometryType") or ("bitmap" if item.get("bitmap") else "polygon"))
        source = f"{source} ('{label}')"
        lost["tags"] += len(entries_of(item.get("tags"), f"{source}, tags"))
        if kind in UNREAD:
            lost[UNREAD[kind]] += 1
        elif kind not in FORMS:
            lost[f"objects of the form {brief(kind)}"] += 1
        elif kind == "polygon" and len(_exterior(item, source)) < 3:
            lost[FEW] += 1
        else:
            records.append(Record(label, kind, item, source))
    for key in [key for key, count in lost.items() if not count]:
        del lost[key]
    return records


def _exterior(entry: Entry, source: str) -> Sequence[object]:
    exterior = entry_of(entry.get("points"), f"{source}, points").get("exterior")
    if not isinstance(exterior, list):
        raise DataError(f"{source}: points.exterior is {brief(exterior)}; must be corners [[x, y], ...]")
    return exterior


def _shape(record: Record, size: tuple[int, int]) -> Shape:
    label, entry, source = record.label, record.entry, record.source
    if record.kind in ("bitmap", "alpha_mask"):
        bitmap = entry_of(entry.get("bitmap"), f"{source}, bitmap")
        origin = points_of([bitmap.get("origin")], 1, f"{source}, bitmap.origin")[0]
        content = from_base64(bitmap.get("data"), source)
        picture = content if content.startswith(PNG) else unpacked(content, size, source)
        left, top = (whole_of(side, "a coordinate of bitmap.origin", source) for side in origin)
        return Shape(label, mask=placed(bitmap_of(picture, size, source), (left, top), size))
    if record.kind == "rectangle":
        first, second = points_of(_exterior(entry, source), 2, source)
        return Shape(label, box=_behind_last_pixel(box_between(first, second)))
    rings = entries_of(entry.get("parts"), f"{source}, parts") or [entry_of(entry.get("points"), source)]
    outlines = tuple(_in_pixels(corners_of(ring.get("exterior"), source)) for ring in rings)
    holes: list[np.ndarray] = []
    for ring in rings:
        inner = ring.get("interior") or []
        if not isinstance(inner, list):
            raise DataError(f"{source}: points.interior is {brief(inner)}; must be a list of outlines")
        holes += [_in_pixels(corners_of(hole, f"{source}, a hole")) for hole in inner]
    return Shape(label, outlines, tuple(holes))


def _in_pixels(corners: np.ndarray) -> np.ndarray:
    """Corners that are numbers of pixels lie in the middle of these; others stay."""
    return corners + 0.5 if (corners == np.round(corners)).all() else corners


def _behind_last_pixel(box: Box) -> Box:
    x0, y0, x1, y1 = box
    is_of_pixels = all(side == round(side) for side in box)
    return (x0, y0, x1 + 1, y1 + 1) if is_of_pixels else box
