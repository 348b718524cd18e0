"""Tables of run-length codes, as Kaggle's competitions hand them out: a row for each object or class of an image."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from segkit.data.files.rle_table import read_rows
from segkit.data.files.run_lengths import KAGGLE, RELATIVE, RunLengths
from segkit.data.formats.base import LabelledImage, LabelReader, Shape
from segkit.data.formats.bitmaps import code_of
from segkit.data.formats.common import stored_size
from segkit.data.formats.entries import label_of
from segkit.data.formats.gathered import Gathered, all_files, ends_of, first_files, folder_of
from segkit.files import DataError, brief

JOINT = ("imageid_classid", "image_label", "image_class", "image_classid")
"""Columns of an image and a class with _ between them, in lower case."""

IMAGES = (*JOINT, "imageid", "image_id", "img_id", "image", "img", "filename", "file_name", "id")
CODES = ("encodedpixels", "rle", "rle_mask", "rle_code", "mask_rle", "segmentation", "annotation")
CLASSES = ("classid", "class_id", "class", "label", "category", "categoryid", "category_id")
EMPTY = ("", "-1", "nan", "none")
"""What stands for no pixel, in lower case."""

ONLY = "object"
"""Name of the class of a table that names none."""


class _Columns(NamedTuple):
    """The head of a table: its columns of the image, the code, and the class where there is one of its own."""

    image: str
    code: str
    label: str | None


class _Row(NamedTuple):
    label: str
    text: str
    source: str


class RleCsvReader(LabelReader):
    """Objects by rows of one or more CSV files; images with a blank code alone are images of background."""

    format = "rle_csv"

    def __init__(self, root: Path, files: Sequence[Path]) -> None:
        super().__init__()
        folder = folder_of(root)
        self._labels = Gathered[list[_Row]](folder)
        stems = {picture.stem: picture.name for picture in self._labels.pictures}
        names = {picture.name for picture in self._labels.pictures}
        labels: set[str] = set()
        is_relative = False
        for path in files:
            for image, rows in _by_image(path).items():
                named = image if image.rsplit("/", 1)[-1] in names else stems.get(image, image)
                if self._labels.add(named, [row for row in rows if row.text], f"{path}, image {brief(image)}"):
                    labels.update(row.label for row in rows if row.label)
                    is_relative = is_relative or any(_goes_back(row.text) for row in rows)
        self.classes = tuple(sorted(labels, key=_rank))
        self._run_lengths: RunLengths = RELATIVE if is_relative else KAGGLE
        if is_relative:
            self.notes = ("starts are not in order, so each is taken as counted from the end of the run before",)
        self._labels.add_bare()
        self._labels.finish(self)

    @classmethod
    def sniff(cls, root: Path) -> str | None:
        columns = next((found for found in map(_columns, first_files(root, ".csv")) if found is not None), None)
        return None if columns is None else f"a table with the columns {columns.image} and {columns.code}"

    @classmethod
    def open(cls, root: Path) -> "RleCsvReader":
        tables = all_files(root, ".csv")
        chosen = [path for path in tables if _columns(path) is not None and "submission" not in path.name.lower()]
        if not chosen:
            raise DataError(
                f"{root}: no CSV file whose head has a column of images ({', '.join(IMAGES)}) and one of codes "
                f"({', '.join(CODES)}); rename its columns"
            )
        return cls(root, chosen)

    def is_labelled(self, index: int) -> bool:
        return self._labels.labels[index] is not None

    def item(self, index: int) -> LabelledImage:
        image, rows = self.images[index], self._labels.labels[index]
        size = stored_size(image)
        if rows is None:
            return LabelledImage(image, size, is_labelled=False)
        masks = (self._run_lengths.decode(row.text, size, row.source) for row in rows)
        shapes = tuple(Shape(row.label, mask=code_of(mask)) for row, mask in zip(rows, masks))
        return LabelledImage(image, size, shapes)


def _columns(path: Path) -> _Columns | None:
    """The columns by the head of a file, None where it is no such table."""
    line = ends_of(path).lstrip("\ufeff").partition("\n")[0]
    head = {name.strip().strip('"').lower(): name.strip().strip('"') for name in line.split(",")}
    kinds = (IMAGES, CODES, CLASSES)
    image, code, label = (next((head[name] for name in names if name in head), None) for names in kinds)
    return None if image is None or code is None else _Columns(image, code, label)


def _by_image(path: Path) -> dict[str, list[_Row]]:
    """The rows of each image."""
    columns = _columns(path)
    assert columns is not None, "tables alone are read"
    wanted = [columns.image, columns.code, *([columns.label] if columns.label else [])]
    rows: dict[str, list[_Row]] = {}
    for line, (image, text, *rest) in read_rows(path, wanted):
        source = f"{path}, line {line}"
        label = rest[0] if rest else ONLY
        if not rest and columns.image.lower() in JOINT:
            image, _, label = image.rpartition("_")
        if not image:
            raise DataError(f"{source}: the column {columns.image} names no image; remove the row")
        code = "" if text.lower() in EMPTY else text
        rows.setdefault(image, []).append(_Row(label_of(label, source) if code or label else "", code, source))
    return rows


def _rank(label: str) -> tuple[bool, int, str]:
    """Numbers first, in their order."""
    is_number = label.isascii() and label.isdecimal() and len(label) < 10
    return not is_number, int(label) if is_number else 0, label


def _goes_back(text: str) -> bool:
    """Whether the starts of a code are not in order, as counted from the first pixel they would be."""
    starts = [int(word) for word in text.split()[0::2] if word.isdecimal() and len(word) < 19]
    return any(after <= before for before, after in pairwise(starts))
