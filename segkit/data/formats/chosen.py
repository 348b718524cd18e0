"""What data sets of labels in any format choose: the items of a split, and classes by name."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from segkit.data.files.images import IMAGE_SUFFIXES
from segkit.data.files.pairs import choose_split, some
from segkit.data.formats.base import LabelledImage, LabelReader
from segkit.data.formats.common import background_of, split_name
from segkit.data.formats.draw import objects_of, pixel_classes
from segkit.files import DataError
from segkit.registry import did_you_mean


def chosen_items(reader: LabelReader, split: str | None, root: str | Path) -> tuple[list[int], list[str]]:
    """Selects the images of a split.

    Args:
        reader: the labels.
        split: its name; None for all images.
        root: of the labels, for the error.

    Returns:
        Items of the reader, and the path of each image below the folder that holds them all, without suffix.

    Raises:
        DataError: there is no such split, or no image.
    """
    if not len(reader):
        raise DataError(f"{root}: no labelled images here; check root and format")
    items = list(range(len(reader)))
    if split is not None:
        if not reader.splits:
            raise DataError(
                f"split = '{split}': {root} names no splits; leave split out, or divide by type='Part' or type='Fold'"
            )
        words = {name: name for name in reader.splits} | {split: split_name(split)}
        items = list(reader.splits[choose_split(words[split], tuple(reader.splits), str(root))])
    paths = [Path(path) for path in reader.images]
    base = Path(os.path.commonpath([path.parent for path in paths]))
    return items, [without_suffix(paths[item].relative_to(base).as_posix()) for item in items]


def without_suffix(name: str) -> str:
    """Returns a name without the suffix of an image; slices of volumes, a.nii.gz#0004, keep theirs."""
    stem, suffix = os.path.splitext(name)
    return stem if suffix.lower() in IMAGE_SUFFIXES else name


def chosen_classes(known: Sequence[str], classes: Sequence[str] | None, root: str | Path) -> tuple[str, ...]:
    """Checks names of classes.

    Args:
        known: those of the labels.
        classes: names to keep; None keeps all.
        root: of the labels, for the error.

    Returns:
        The names to keep.

    Raises:
        DataError: there is no name, one stands twice, or one is not known.
    """
    if classes is None:
        return tuple(known)
    if not classes or len(set(classes)) < len(classes):
        raise DataError(f"classes = {list(classes)}: must be at least one name, none of them twice")
    for name in classes:
        if name not in known:
            hint = did_you_mean(name, known)
            raise DataError(f"classes: {root} has no class '{name}'{hint}; available: {some(list(known), 12)}")
    return tuple(classes)


class Objects:
    """The objects of images, those of a map of classes being its connected regions.

    Args:
        reader: the labels.
        classes: names to keep; None keeps all but the background.
        root: of the labels, for the error.

    Attributes:
        names: of the classes that objects may have.

    Raises:
        DataError: see chosen_classes.
    """

    def __init__(self, reader: LabelReader, classes: Sequence[str] | None, root: str | Path):
        self.reader = reader
        self._all = pixel_classes(reader)
        background = background_of(self._all)
        objects = [name for number, name in enumerate(self._all) if number != background]
        self.names = chosen_classes(objects, classes, root)

    def read(self, item: int) -> LabelledImage:
        """Returns an image with its objects of these classes alone, and crowds of no class: what is to be ignored."""
        image = self.reader.item(item)
        shapes = tuple(
            shape
            for shape in objects_of(image, self._all)
            if shape.label in self.names or (shape.crowd and shape.label not in self._all)
        )
        return replace(image, shapes=shapes, label_map=None)
