"""YOLO's format: a text file for each image, a line for each object: class x y w h, or class x1 y1 x2 y2 ...

Numbers are shares of the image's sides. Layout: https://docs.ultralytics.com/datasets/segment; Roboflow writes the same
with a folder for each split.
"""

import math
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from segkit.data.files.images import IMAGE_SUFFIXES
from segkit.data.files.outlines import CORNERS
from segkit.data.files.pairs import some, walk_files
from segkit.data.formats.base import LabelledImage, LabelReader, LabelWriter, Shape, Written
from segkit.data.formats.common import names_of, split_name, turned_size
from segkit.data.formats.draw import box_of, object_codes, outlines_of
from segkit.data.formats.gathered import ends_of
from segkit.files import DataError, brief, read_text, write_whole
from segkit.readers.yaml_file import read_yaml

SPLIT_KEYS = ("train", "val", "valid", "test")
NAME_FILES = ("classes.txt", "obj.names", "classes.names", "_darknet.labels")
"""Files of names, one on a line, of sets without a YAML file."""

BOX_NUMBERS = 4
SLACK = 0.01
"""How far outside of 0..1 a number may lie, as rounding and clipping leave it."""


def yaml_of(root: Path) -> Path | None:
    """Returns the YAML file that names the classes, where a folder has one or is one."""
    if root.is_file():
        files = [root] if root.suffix.lower() in (".yaml", ".yml") else []
    else:
        files = sorted(path for path in root.glob("*.y*ml") if path.suffix.lower() in (".yaml", ".yml"))
    lines = re.compile(r"^(names|nc)\s*:", re.M)
    found = [path for path in files if path.is_file() and lines.search(ends_of(path))]
    return next((path for path in found if path.stem == "data"), found[0] if found else None)


def _looks_like_rows(path: Path) -> bool:
    words = [line.split() for line in ends_of(path).splitlines()[:3] if line.strip()]
    return bool(words) and all(
        len(row) > BOX_NUMBERS and row[0].isdecimal() and all(re.fullmatch(r"-?[\d.eE+-]+", word) for word in row)
        for row in words
    )


def label_files(root: Path) -> list[Path]:
    """Returns the folders named labels of a set without a YAML file, where a file of names is there too."""
    if not root.is_dir() or names_file(root) is None:
        return []
    folders = [path for pattern in ("labels", "*/labels", "obj_train_data") for path in sorted(root.glob(pattern))]
    return [folder for folder in folders if folder.is_dir()]


def names_file(root: Path) -> Path | None:
    """Returns the file of class names of a set without a YAML file, None where there is none."""
    found = (folder / name for folder in (root, root / "labels") for name in NAME_FILES)
    return next((path for path in found if path.is_file()), None)


class YoloReader(LabelReader):
    """Objects of YOLO's text files."""

    format = "yolo"

    def __init__(self, root: Path, source: Path, names: Mapping[int, str], groups: Mapping[str, Sequence[Path]]):
        super().__init__()
        self.classes, self._names, self._source = tuple(names.values()), names, str(source)
        self._has_keypoints = False
        order = dict.fromkeys(path for paths in groups.values() for path in paths)
        self.images = list(order)
        number_of = {path: number for number, path in enumerate(self.images)}
        splits = {split: [number_of[path] for path in paths] for split, paths in groups.items()}
        # those who have no splits name one folder twice, since both keys must be there
        is_one = len(splits) > 1 and len({tuple(items) for items in splits.values()}) == 1
        self.splits = {} if is_one or set(splits) == {""} else splits
        self._labels = [label_file(path, root) for path in self.images]
        labelled = {path.parent for path in self._labels if path is not None}
        notes = []
        bare = [path for path, label in zip(self.images, self._labels) if label is None]
        if not labelled:
            raise DataError(
                f"{root}: none of {len(self.images)} images ({some([*map(str, self.images)], 2)}) has a label file; "
                "expected labels/NAME.txt beside images/NAME.jpg"
            )
        if bare:
            notes.append(f"{len(bare)} images have no label file, which YOLO takes for background: {_some(bare)}")
        self.notes = tuple(notes)

    @classmethod
    def sniff(cls, root: Path) -> str | None:
        if (source := yaml_of(root)) is not None:
            return f"{source.name} with class names"
        for folder in label_files(root):
            rows = next((path for path in sorted(folder.glob("*.txt")) if _looks_like_rows(path)), None)
            if rows is not None:
                return f"{folder.relative_to(root)}/{rows.name} with rows of a class and numbers"
        return None

    @classmethod
    def open(cls, root: Path) -> "YoloReader":
        source = yaml_of(root)
        if source is None:
            return cls._without_yaml(root)
        content = read_yaml(source)
        folder = source.parent
        if content.get("names") is None:
            raise DataError(f"{source}: it names no classes; add names: [first, second, ...]")
        groups: dict[str, list[Path]] = {}
        for key in SPLIT_KEYS:
            if content.get(key):
                groups.setdefault(split_name(key), []).extend(
                    _images_of(content[key], content.get("path"), key, source)
                )
        if not groups:
            groups = {"": _pictures(folder)}
        if not any(groups.values()):
            raise DataError(
                f"{source}: no images in the folders of train, val and test; correct them, or copy the images"
            )
        reader = cls(folder, source, _numbered(content["names"], f"{source}: names"), groups)
        reader._has_keypoints = content.get("kpt_shape") is not None
        return reader

    @classmethod
    def _without_yaml(cls, root: Path) -> "YoloReader":
        source = names_file(root) if root.is_dir() else None
        if source is None:
            raise DataError(
                f"{root}: no data.yaml and no classes.txt here, so the classes have no names; add one of them"
            )
        names = _numbered([line for line in read_text(source).splitlines() if line.strip()], source)
        groups: dict[str, list[Path]] = {}
        for path in _pictures(root):
            words = (split_name(part) for part in path.relative_to(root).parts[:-1])
            word = next((word for word in words if word in SPLIT_KEYS), "")
            groups.setdefault(word, []).append(path)
        if not groups:
            raise DataError(f"{root}: no images here; copy them to images/ beside labels/")
        return cls(root, source, names, groups)

    def is_labelled(self, index: int) -> bool:
        return True

    def label_file(self, index: int) -> Path | None:
        return self._labels[index]

    def item(self, index: int) -> LabelledImage:
        path, label = Path(self.images[index]), self._labels[index]
        # the programs that write this format show pictures, and take their size, as the camera turned them
        size = turned_size(path)
        if label is None:
            return LabelledImage(path, size)
        rows = enumerate(read_text(label).splitlines(), 1)
        return LabelledImage(
            path, size, tuple(self._shape(row, size, f"{label}, line {n}") for n, row in rows if row.strip())
        )

    def _shape(self, line: str, size: tuple[int, int], source: str) -> Shape:
        words = line.split()
        try:
            number, values = float(words[0]), [float(word) for word in words[1:]]
        except ValueError as error:
            raise DataError(
                f"{source}: {brief(line)} is no row of numbers: class x y w h, or class x1 y1 x2 y2 ..."
            ) from error
        if number not in self._names:
            known = some([*map(str, self._names)], 8)
            raise DataError(f"{source}: class {words[0]} is none of {known}, which {self._source} names; add its name")
        if self._has_keypoints:
            self.lost["keypoints"] += 1
            values = values[:BOX_NUMBERS]
        if not all(math.isfinite(value) and -SLACK <= value <= 1 + SLACK for value in values):
            wrong = next(value for value in values if not -SLACK <= value <= 1 + SLACK)
            raise DataError(
                f"{source}: {wrong:g} is no share of the image's side; numbers must be in 0..1: divide by the size"
            )
        label, sides = self._names[int(number)], np.array(size[::-1], np.float64)
        if len(values) == BOX_NUMBERS:
            centre, half = np.array(values[:2]) * sides, np.array(values[2:]) * sides / 2
            (x0, y0), (x1, y1) = (centre - half).tolist(), (centre + half).tolist()
            return Shape(label, box=(x0, y0, x1, y1))
        if len(values) % 2 or len(values) < 2 * CORNERS:
            raise DataError(
                f"{source}: {len(values)} numbers after the class; a box has {BOX_NUMBERS}, an outline two for each of "
                f"{CORNERS} or more corners"
            )
        return Shape(label, (np.array(values).reshape(-1, 2) * sides,))


def _numbered(entries: object, source: str | Path) -> dict[int, str]:
    """The name of each number. Some programs count from 1, which a mapping can say."""
    if isinstance(entries, Mapping) and entries and all(str(key).isdecimal() for key in entries):
        numbers = sorted(int(key) for key in entries)
        values = {int(key): value for key, value in entries.items()}
        return dict(zip(numbers, names_of([values[number] for number in numbers], source)))
    return dict(enumerate(names_of(entries, source)))


def _some(paths: Sequence[Path]) -> str:
    return some([*map(str, paths)], 3)


def _pictures(folder: Path) -> list[Path]:
    return [Path(path) for path in walk_files(folder, IMAGE_SUFFIXES)]


def label_file(image: Path, root: Path) -> Path | None:
    """Returns the label file of an image: in labels/ in place of the last images/ of its path, or beside it."""
    parts = list(image.relative_to(root).with_suffix(".txt").parts)
    candidates = [root.joinpath(*parts)]
    positions = [position for position, part in enumerate(parts[:-1]) if part == "images"]
    if positions:
        parts[positions[-1]] = "labels"
        candidates.insert(0, root.joinpath(*parts))
    return next((path for path in candidates if path.is_file()), None)


def _images_of(value: object, base: object, key: str, source: Path) -> list[Path]:
    """The images of a split: of a folder, of a list of images, or of several of them."""
    entries = value if isinstance(value, list) else [value]
    found: list[Path] = []
    for entry in entries:
        if not isinstance(entry, str):
            raise DataError(f"{source}: {key}: {brief(entry)} is no path; give the folder of the split's images")
        place = _place(entry, base, source.parent)
        if place is None:
            where = f" (path: {brief(base)})" if base else ""
            raise DataError(
                f"{source}: {key}: {brief(entry)}{where} is not below {source.parent}; correct it, or move it there"
            )
        if place.is_dir():
            found += _pictures(place)
            continue
        for line in read_text(place).splitlines():
            if line.strip():
                image = _place(line.strip(), base, source.parent, place.parent)
                if image is None:
                    raise DataError(
                        f"{place}: {brief(line.strip())} is not below {source.parent}; correct it, or copy it there"
                    )
                found.append(image)
    return found


def _place(text: str, base: object, root: Path, near: Path | None = None) -> Path | None:
    """The file or folder below root that a path means, though it may be written for another machine.

    Leading parts that do not exist here are passed over: of /home/me/set/train/images, and of ../train/images as
    Roboflow writes it, the longest end that exists counts.
    """
    parts = [part for part in re.split(r"[/\\]", text) if part not in ("", ".", "..")]
    bases = [root] if near is None else [near, root]
    if isinstance(base, str):
        inner = [part for part in re.split(r"[/\\]", base) if part not in ("", ".", "..")]
        bases = [root.joinpath(*inner[start:]) for start in range(len(inner))] + bases
    if not parts:
        return root
    for start in range(len(parts)):
        for folder in bases:
            place = folder.joinpath(*parts[start:])
            if place.exists():
                return place
    return None


class YoloWriter(LabelWriter):
    """Writes labels/NAME.txt beside images/NAME.* and data.yaml."""

    format = "yolo"

    def add(self, image: LabelledImage, name: str) -> None:
        height, width = image.size
        lines = []
        for shape, code in zip(image.shapes, object_codes(image)):
            if shape.crowd:
                self.written.lost["crowds"] += 1
                continue
            pieces, holes = [*shape.outlines], len(shape.holes)
            if shape.mask is not None and code is not None:
                pieces, gaps = outlines_of(code)
                holes = len(gaps)
            self.written.lost["holes in objects"] += holes
            self.written.lost["objects in several pieces, each of which is an object now"] += len(pieces) > 1
            number = self.classes.index(shape.label)
            if not pieces and shape.box is not None:
                x0, y0, x1, y1 = box_of(shape, code)
                values = [(x0 + x1) / 2 / width, (y0 + y1) / 2 / height, (x1 - x0) / width, (y1 - y0) / height]
                lines.append(_row(number, values))
            for piece in pieces:
                corners = np.clip(piece / (width, height), 0, 1)
                lines.append(_row(number, corners.ravel().tolist()))
            self.written.objects += 1
        stem = os.path.splitext(name)[0]
        write_whole(self.folder / "labels" / f"{stem}.txt", "".join(lines))
        self.written.files += 1

    def close(self) -> Written:
        splits = {split: f"images/{split}" for split in self.splits}
        for split in set(splits) - set(SPLIT_KEYS):
            self.written.lost[f"the split '{split}', which data.yaml has no key for"] += 1
        lines = [f"{key}: {path}\n" for key, path in splits.items() if key in SPLIT_KEYS]
        if not splits:
            # both keys have to be there for those who train on it; the data has no splits
            lines = ["train: images\n", "val: images\n"]
        lines += ["names:\n", *(f"  {number}: {_quoted(name)}\n" for number, name in enumerate(self.classes))]
        write_whole(self.folder / "data.yaml", "".join(lines))
        self.written.files += 1
        self.written.lost = +self.written.lost
        return self.written


def _row(number: int, values: Sequence[float]) -> str:
    return " ".join([str(number), *(f"{value:.9g}" for value in values)]) + "\n"


def _quoted(name: str) -> str:
    """The name as text of YAML, in which no, 1 and : mean something else."""
    return "'" + name.replace("'", "''") + "'"
