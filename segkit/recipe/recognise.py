"""Which labels a folder holds: their format, and what the labelled images have."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from segkit.data.files.images import IMAGE_SUFFIXES
from segkit.data.files.pairs import some, walk_files
from segkit.data.formats.base import LabelReader
from segkit.data.formats.draw import pixel_classes
from segkit.data.formats.known import READERS, Found, reader_of, sniff_all
from segkit.files import DataError
from segkit.types import IGNORE

MOST_READ = 200
"""Labelled images whose labels are read for the survey; of more, so many with equal distances between them."""

LABEL_FILES = {
    ".json": "COCO, labelme, Label Studio, Supervisely, Darwin and Cityscapes' polygons",
    ".xml": "Pascal VOC and CVAT",
    ".txt": "YOLO, which needs data.yaml or classes.txt, and images/ beside labels/",
    ".csv": "run lengths, which need a column of images and one of codes",
}
"""Ends of files that may hold labels, and what they may be."""


LEGENDS = ("classes.txt", "labels.txt", "README.txt", "readme.txt")
"""Files that are no labels of images by themselves."""


def recognised(root: Path, format: str | None = None) -> tuple[Path, Found]:
    """Finds the format of the labels below a folder, or below the one folder in it, as archives have them.

    Args:
        root: the folder or file.
        format: its name where the user gave it.

    Returns:
        The folder of the labels, and their format.

    Raises:
        DataError: there is nothing, no format fits, or several do.
    """
    if not root.exists():
        raise DataError(f"{root}: no such folder or file; check the path")
    if root.is_dir() and not any(root.iterdir()):
        raise DataError(f"{root}: the folder is empty; give the folder that holds images and labels")
    if format is not None:
        return root, reader_of(root, format)
    here = root
    while True:
        found = sniff_all(here)
        if len(found) > 1:
            several = "; ".join(f"{item.reader.format} ({item.evidence})" for item in found)
            raise DataError(
                f"{here}: {len(found)} formats fit: {several}; choose one: --format {found[0].reader.format}"
            )
        if found:
            return here, found[0]
        inner = [path for path in here.iterdir() if not path.name.startswith(".")] if here.is_dir() else []
        if len(inner) != 1 or not inner[0].is_dir():
            raise DataError(f"{root}: {_nothing(root)}")
        here = inner[0]


def _nothing(root: Path) -> str:
    """What a folder holds whose labels are of no known format, the nearest format, and the way out."""
    names = ", ".join(reader.format for reader in READERS)
    if root.is_file():
        return f"a file of labels in no known format; tried {names}; give the folder that holds images and labels"
    images = len(list(walk_files(root, IMAGE_SUFFIXES)))
    files = [Path(path) for path in walk_files(root, tuple(LABEL_FILES))]
    others = Counter(path.suffix.lower() for path in files if path.name not in LEGENDS)
    held = [f"{images} images", *(f"{count} {suffix}" for suffix, count in others.most_common())]
    text = f"labels of no known format ({', '.join(held)}); tried {names}"
    if others:
        suffix = others.most_common(1)[0][0]
        return f"{text}; nearest: {suffix} files are those of {LABEL_FILES[suffix]}; see docs/own_data.md"
    if images:
        return (
            f"{text}; nearest: masks, one for each image, in a folder masks/ beside images/ or as NAME_mask.png beside "
            f"NAME.jpg; to label these images: segkit new --images {root}"
        )
    return f"{text}; give the folder that holds images and labels"


@dataclass
class Survey:
    """What the labels of a data set hold, by those of some images.

    Attributes:
        classes: K names of the labels, the background included where pixels are labelled.
        looked: images whose labels were read; labelled: of these, or of all where that is known, the labelled ones.
        outlined, boxes: objects with an outline or mask, and by a box alone.
        maps: images with a map of classes.
        images_of: images that hold each class; in maps, a pixel of it.
        sizes: {image path: (H, W) of its labels}.
        unlabelled: images that nobody has labelled.
        failures: sentences on labels that cannot be read.
    """

    classes: tuple[str, ...] = ()
    looked: int = 0
    labelled: int = 0
    outlined: int = 0
    boxes: int = 0
    maps: int = 0
    images_of: Counter[str] = field(default_factory=Counter)
    sizes: dict[str, tuple[int, int]] = field(default_factory=dict)
    unlabelled: int = 0
    failures: list[str] = field(default_factory=list)
    is_whole: bool = True

    @property
    def objects(self) -> int:
        """All objects."""
        return self.outlined + self.boxes

    @property
    def words(self) -> str:
        """The labels in a few words."""
        kinds = [
            f"{self.outlined} objects with an outline" if self.outlined else "",
            f"{self.boxes} boxes" if self.boxes else "",
            f"{self.maps} maps of classes" if self.maps else "",
        ]
        return ", ".join(kind for kind in kinds if kind) or "no object"


def survey(reader: LabelReader) -> Survey:
    """Reads the labels of some images.

    Args:
        reader: of the data set.

    Raises:
        DataError: no image is labelled, or none of the labels can be read.
    """
    found = Survey()
    is_known = type(reader).is_labelled is not LabelReader.is_labelled
    items = [index for index in range(len(reader)) if not is_known or reader.is_labelled(index)]
    found.unlabelled = len(reader) - len(items)
    chosen = spread(items, MOST_READ)
    found.is_whole = len(chosen) == len(items)
    for index in chosen:
        _look(reader, index, found)
    found.labelled = len(items) if is_known else found.looked
    if not found.looked:
        if found.failures:
            raise DataError(f"none of {len(chosen)} images looked at has labels that can be read: {found.failures[0]}")
        raise DataError(
            f"none of {len(reader)} images is labelled ({reader.format}); label some, or give the folder of the labels"
        )
    found.classes = pixel_classes(reader)
    return found


def _look(reader: LabelReader, index: int, found: Survey) -> None:
    """Adds an image to the survey."""
    try:
        image = reader.item(index)
    except (DataError, OSError) as error:
        found.failures.append(str(error))
        return
    if not image.is_labelled:
        found.unlabelled += 1
        return
    found.looked += 1
    found.sizes[str(image.path)] = image.size
    present = {shape.label for shape in image.shapes if not shape.crowd}
    if image.label_map is not None:
        found.maps += 1
        present |= {reader.classes[label] for label in np.unique(image.label_map) if label != IGNORE}
    found.images_of.update(present)
    outlined = sum(bool(shape.outlines or shape.mask) for shape in image.shapes if not shape.crowd)
    found.outlined += outlined
    found.boxes += sum(not shape.crowd for shape in image.shapes) - outlined


def spread(items: Sequence[int], most: int) -> list[int]:
    """Returns up to `most` of the items, with equal distances between them, the first and last included."""
    if len(items) <= most:
        return list(items)
    return [items[round(number * (len(items) - 1) / (most - 1))] for number in range(most)]


def found_words(reader: LabelReader, evidence: str, found: Survey) -> list[str]:
    """Returns what was found and what is lost, as lines of text."""
    splits = ", ".join(f"{split} {len(items)}" for split, items in reader.splits.items()) or "none"
    looked = "" if found.is_whole else f" in the {found.looked} images looked at"
    count = len(reader.classes)
    lines = [
        f"found: {reader.format} ({evidence})",
        f"  {len(reader)} images, {count} class{'es' * (count != 1)}: {some(reader.classes, 12)}; splits: {splits}",
        f"  {found.words}{looked}",
    ]
    lines += [f"  note: {note}" for note in reader.notes]
    lines += [f"  lost: {count} {words}{looked}" for words, count in (+reader.lost).items()]
    if found.failures:
        lines.append(f"  note: {len(found.failures)} labels cannot be read, such as {found.failures[0]}")
    return lines
