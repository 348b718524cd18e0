"""COCO's format: polygons and run-length codes of objects, one JSON file or one for each split.

Format: https://cocodataset.org/#format-data. Roboflow writes _annotations.coco.json beside the images of each split.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from pycocotools import mask as coco_mask

from segkit.data.files.coco_json import CocoFile, bbox_of, image_size, is_crowd, read_coco, to_rle
from segkit.data.files.flat_index import FlatIndex, cached_index
from segkit.data.files.named import find_each
from segkit.data.files.outlines import check_segmentation, reason
from segkit.data.files.pairs import some
from segkit.data.formats.base import LabelledImage, LabelReader, LabelWriter, Shape, Written
from segkit.data.formats.common import SPLIT_NAMES, split_name, stored_size
from segkit.data.formats.draw import box_of, object_codes
from segkit.data.formats.gathered import ends_of, splits_of
from segkit.files import DataError, brief, write_whole

SECTIONS = ('"images"', '"annotations"', '"categories"')
FIELDS = ('"image_id"', '"file_name"', '"category_id"', '"supercategory"')
OTHER_TASKS = ("person_keypoints_", "captions_", "stuff_", "panoptic_", "image_info_")
"""What names of COCO's files for other tasks begin with; instances_* lists the same images."""

LOST = {"keypoints": "keypoints", "caption": "captions", "attributes": "attributes", "rotation": "rotations"}
"""Keys of annotations that this form does not hold, and what they are called."""


class _Row(NamedTuple):
    number: object
    label: str
    crowd: object
    box: object
    segmentation: list | dict | None


def coco_files(root: Path) -> list[Path]:
    """Returns the COCO files of a folder: in it, in annotations/, and one folder deep; or the file itself."""
    if root.is_file():
        return [root] if root.suffix.lower() == ".json" and _looks_like(root) else []
    if not root.is_dir():
        return []
    files = sorted({path for pattern in ("*.json", "*/*.json") for path in root.glob(pattern) if path.is_file()})
    found = [path for path in files if not path.name.startswith(".") and _looks_like(path)]
    if any(path.name.startswith("instances_") for path in found):
        found = [path for path in found if not path.name.startswith(OTHER_TASKS)]
    return found


def _looks_like(path: Path) -> bool:
    ends = ends_of(path)
    if not ends.lstrip("\ufeff \t\r\n").startswith("{") or '"segments_info"' in ends:
        return False
    return sum(key in ends for key in SECTIONS) > 1 and any(key in ends for key in FIELDS)


class CocoReader(LabelReader):
    """Objects of COCO's JSON files."""

    format = "coco"

    def __init__(self, root: Path, files: Sequence[Path]):
        super().__init__()
        self._files = [str(file) for file in files]
        self._rows = [_index(file) for file in files]
        heads = [json.loads(rows[0]) for rows in self._rows]
        for head in heads:
            self.lost.update(head["lost"])
        self.classes = tuple(dict.fromkeys(name for head in heads for name in head["classes"]))
        self._is_labelled = [head["annotations"] > 0 for head in heads]
        notes, images = [], []
        self._places: list[tuple[int, int]] = []
        words: list[str] = []
        for number, (file, head) in enumerate(zip(files, heads)):
            folder, found = _folder_of(root, file, head["images"])
            missing = [name for name, path in zip(head["images"], found) if path is None]
            if missing:
                notes.append(f"{len(missing)} images that {file} names are not below {folder}: {some(missing, 3)}")
            kept = [record for record, path in enumerate(found, 1) if path is not None]
            images += [folder / path for path in found if path is not None]
            self._places += [(number, record) for record in kept]
            words += [_split_of(file, root)] * len(kept)
        self.images, self.notes = images, tuple(notes)
        self.splits = splits_of(words)

    @classmethod
    def sniff(cls, root: Path) -> str | None:
        files = coco_files(root)
        return f"{some([path.name for path in files], 3)} with images, annotations and categories" if files else None

    @classmethod
    def open(cls, root: Path) -> "CocoReader":
        files = coco_files(root) or ([root] if root.is_file() else [])
        if not files:
            raise DataError(
                f"{root}: no COCO file here, in annotations/ or in a folder of a split; give the path of the .json file"
            )
        folder = root if root.is_dir() else root.parent
        return cls(folder.parent if folder.name == "annotations" else folder, files)

    def is_labelled(self, index: int) -> bool:
        return self._is_labelled[self._places[index][0]]

    def label_file(self, index: int) -> Path | None:
        return Path(self._files[self._places[index][0]])

    def item(self, index: int) -> LabelledImage:
        number, record = self._places[index]
        file, path = self._files[number], Path(self.images[index])
        image, rows = json.loads(self._rows[number][record])
        has_size = image.get("height") is not None and image.get("width") is not None
        size = image_size(image, file) if has_size else stored_size(path)
        shapes = tuple(_shape(_Row(*row), size, f"{file}, annotation {brief(row[0])} ({path.name})") for row in rows)
        return LabelledImage(path, size, shapes, is_labelled=self._is_labelled[number])


def _index(path: Path) -> FlatIndex:
    """Record 0 says what the file holds; record i + 1 is [image entry, rows] of its i-th image."""
    return cached_index([path], "labels coco 1", partial(_records, path))


def _records(path: Path) -> Iterator[bytes]:
    coco = read_coco(path)
    lost: Counter[str] = Counter()
    names = []
    for image in coco.images:
        if not isinstance(image.get("file_name"), str) or not image["file_name"]:
            raise DataError(f"{path}, image {brief(image.get('id'))}: it has no file_name; name the image's file")
        names.append(image["file_name"])
        for entry in coco.annotations[image["id"]]:
            lost.update(name for key, name in LOST.items() if entry.get(key))
    total = sum(map(len, coco.annotations.values()))
    yield json.dumps(dict(classes=_names(coco), images=names, lost=lost, annotations=total)).encode()
    for image in coco.images:
        rows = [
            _Row(e["id"], coco.names[e["category_id"]], e.get("iscrowd"), e.get("bbox"), e.get("segmentation"))
            for e in coco.annotations[image["id"]]
        ]
        head = {key: image.get(key) for key in ("id", "height", "width")}
        yield json.dumps([head, rows]).encode()


def _names(coco: CocoFile) -> list[str]:
    """The categories in their order, without the group that Roboflow lists as category 0 and no object has."""
    used = {entry["category_id"] for entries in coco.annotations.values() for entry in entries}
    groups = [entry.get("supercategory") for entry in coco.categories]
    is_group = {number: number == 0 and name in groups and number not in used for number, name in coco.names.items()}
    return [name for number, name in coco.names.items() if not is_group[number]]


def _split_of(file: Path, root: Path) -> str:
    """The split that a file's name or folder says: instances_train2017.json, valid/_annotations.coco.json."""
    for text in (file.stem, file.parent.name if file.parent != root else ""):
        for word in re.split(r"[^a-z]+", text.lower()):
            if word in SPLIT_NAMES:
                return split_name(word)
    return file.stem


def _folder_of(root: Path, file: Path, names: Sequence[str]) -> tuple[Path, list[str | None]]:
    """The folder that most of a file's images lie in, and the file of each below it."""
    word = file.stem.removeprefix("instances_")
    tried = [file.parent, file.parent / "images", file.parent.parent, root, root / "images"]
    tried += [folder / name for folder in (root, root / "images") for name in (word, _split_of(file, root))]
    tried += [root / word / "images", root / _split_of(file, root) / "images"]
    best: tuple[Path, list[str | None]] | None = None
    folders = [
        folder for folder in dict.fromkeys(tried) if folder.is_dir() and (folder == root or root in folder.parents)
    ]
    remedy = "write names relative to the folder of images"
    for folder in folders:
        found = find_each(folder, names, file, remedy=remedy)
        if best is None or sum(path is not None for path in found) > sum(path is not None for path in best[1]):
            best = folder, found
    if best is None or not any(best[1]):
        what = f"none of its {len(names)} images ({some(names, 3)})" if names else "it lists no images, so nothing"
        raise DataError(f"{file}: {what} lies in {some([*map(str, folders)], 9)}; copy the images to one of them")
    return best


def _shape(row: _Row, size: tuple[int, int], source: str) -> Shape:
    crowd = is_crowd(dict(iscrowd=row.crowd), source)
    box = None
    if row.box:
        x, y, w, h = bbox_of(dict(bbox=row.box), source)
        box = x, y, x + w, y + h
    if not row.segmentation:
        if box is None:
            raise DataError(f"{source}: it has neither segmentation nor bbox; outline the object, or remove it")
        return Shape(row.label, box=box, crowd=crowd)
    try:
        check_segmentation(row.segmentation, *size)
        if isinstance(row.segmentation, list):
            outlines = tuple(np.array(polygon, np.float64).reshape(-1, 2) for polygon in row.segmentation)
            return Shape(row.label, outlines, box=box, crowd=crowd)
        code = to_rle(row.segmentation, *size)
        counts = code["counts"] if isinstance(code["counts"], bytes) else code["counts"].encode()
        return Shape(row.label, mask=dict(size=[*size], counts=counts), box=box, crowd=crowd)
    except (TypeError, ValueError, KeyError, IndexError, OverflowError, AttributeError) as error:
        raise DataError(
            f"{source}: the segmentation cannot be drawn ({reason(error)}); correct or remove it"
        ) from error


class CocoWriter(LabelWriter):
    """Writes annotations/instances_<split>.json, or annotations.json where there are no splits, beside images/."""

    format = "coco"

    def __init__(
        self, folder: Path, classes: Sequence[str], splits: Mapping[str, Sequence[str]] = MappingProxyType({})
    ):
        super().__init__(folder, classes, splits)
        self._split = {name: split for split, names in splits.items() for name in names}
        self._images: dict[str, list[dict]] = {}
        self._rows: dict[str, list[dict]] = {}

    def add(self, image: LabelledImage, name: str) -> None:
        split = self._split.get(name, "")
        images, rows = self._images.setdefault(split, []), self._rows.setdefault(split, [])
        height, width = image.size
        images.append(dict(id=len(images) + 1, file_name=name, height=height, width=width))
        for shape, code in zip(image.shapes, object_codes(image)):
            if shape.label not in self.classes:
                self.written.lost["ignored regions of no class"] += 1
                continue
            x0, y0, x1, y1 = box_of(shape, code)
            row: dict[str, Any] = dict(
                id=len(rows) + 1,
                image_id=len(images),
                category_id=self.classes.index(shape.label) + 1,
                iscrowd=int(shape.crowd),
                area=float((x1 - x0) * (y1 - y0)) if code is None else int(coco_mask.area(code)),
                bbox=[x0, y0, x1 - x0, y1 - y0],
            )
            if shape.outlines and not shape.holes:
                row["segmentation"] = [outline.ravel().tolist() for outline in shape.outlines]
            elif code is not None:
                row["segmentation"] = dict(size=[height, width], counts=code["counts"].decode("ascii"))
            rows.append(row)

    def close(self) -> Written:
        categories = [dict(id=number, name=name) for number, name in enumerate(self.classes, 1)]
        for split, images in self._images.items():
            path = self.folder / ("annotations.json" if not split else f"annotations/instances_{split}.json")
            content = dict(images=images, annotations=self._rows[split], categories=categories)
            write_whole(path, json.dumps(content))
            self.written.files += 1
            self.written.objects += len(self._rows[split])
        return self.written
