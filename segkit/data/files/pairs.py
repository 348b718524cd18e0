"""Data sets of image and mask files, and what the readers of official layouts share."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from segkit.data.dataset import Dataset
from segkit.data.files.images import IMAGE_SUFFIXES, read_image
from segkit.data.files.labels import LabelTable
from segkit.data.files.listing import keyed_files, visit
from segkit.data.files.masks import read_mask
from segkit.files import DataError
from segkit.registry import did_you_mean


def walk_files(folder: Path, suffixes: Sequence[str]) -> Iterator[str]:
    """Finds the files of a folder and all its subfolders, each once; hidden ones are passed over.

    A link to a folder is followed unless that folder is listed anyway, so that links in a circle end.

    Args:
        folder: where to search.
        suffixes: of the files, in lower case.

    Yields:
        Paths, each folder's files in the order of their names.
    """
    for below, _, names in visit(folder, suffixes):
        for name in names:
            yield os.path.join(folder, below, name)


def list_files(folder: Path, suffixes: Sequence[str], layout: str) -> dict[str, str]:
    """Lists the files of a folder and all its subfolders, each once; hidden ones are passed over.

    A link to a folder is followed unless that folder is listed anyway, so that links in a circle end.

    Args:
        folder: where to search.
        suffixes: of the files to list, in lower case.
        layout: how the folder should look, for the error where it is missing.

    Returns:
        {path below the folder without suffix, as `same_text` writes it: path}, sorted.

    Raises:
        DataError: where the folder is missing, or two files differ only in their suffix, because either may be meant.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; {layout}; set root=... or the variable SEGKIT_DATA")
    return keyed_files(folder, suffixes)


def some(names: Sequence[str], most: int = 5) -> str:
    """Returns the first `most` names, and how many more there are, for a message."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def split_names(text: str) -> tuple[str, ...]:
    """Splits a text of names with commas between them, over several lines."""
    return tuple(" ".join(name.split()) for name in text.split(","))


def choose_split(split: str, known: Sequence[str], name: str) -> str:
    """Checks the name of a split and returns it.

    Args:
        split: the user's choice.
        known: the splits of the data set.
        name: of the data set, for the error.

    Raises:
        DataError: where the data set has no such split.
    """
    if split not in known:
        raise DataError(f"{name} has no split '{split}'{did_you_mean(split, known)}; available: {', '.join(known)}")
    return split


class FilePairs(Dataset):
    """Base class of data sets whose images and masks are files.

    A subclass calls `keep` once with the pairs it found, and sets `label_table`.

    Attributes:
        label_table: turns the masks' raw labels into classes.
        channels: of the images; see read_image.
    """

    label_table: LabelTable
    channels: int = 3

    def keep(self, ids: Sequence[str], images: Sequence[str], masks: Sequence[str | None], folder: Path) -> None:
        """Takes the items of the data set.

        Args:
            ids: one per item.
            images: the image file of each item.
            masks: the mask file of each item, None for an image without labels.
            folder: where the images lie, for the error.

        Raises:
            DataError: where there is no item.
        """
        if not ids:
            raise DataError(f"{folder}: no images ({', '.join(IMAGE_SUFFIXES)}) here; check root and split")
        self.ids, self._images, self._masks = list(ids), list(images), list(masks)

    def path(self, index: int) -> str:
        return self._images[index]

    def mask_path(self, index: int) -> str:
        return self._masks[index] or self.path(index)

    def has_mask(self, index: int) -> bool:
        return self._masks[index] is not None

    def image(self, index: int) -> np.ndarray:
        """Returns the image, uint8 or float32 [H,W,channels]; see read_image."""
        return read_image(self._images[index], self.channels, **self.reading._asdict())

    def mask(self, index: int) -> np.ndarray:
        """Returns the label map, uint8 [H,W] of class indices and IGNORE.

        Args:
            index: the item.

        Raises:
            DataError: where the image has no mask, or its mask cannot be used.
        """
        path = self._masks[index]
        if path is None:
            raise DataError(f"{self.path(index)}: this image has no mask; choose a labelled split")
        return self.label_table.apply(read_mask(path, self.label_table.color_remedy), path)


def pair(images: dict[str, str], masks: dict[str, str], ends: Sequence[str] = ("",)) -> dict[str, str | None]:
    """Finds the mask of each image.

    Args:
        images: {key: path}.
        masks: {key: path}.
        ends: what a mask's key has after the image's, first choice first.

    Returns:
        {image key: path of its mask, or None}.
    """
    if len(ends) == 1:
        return {key: masks.get(key + ends[0] if ends[0] else key) for key in images}
    pairs: dict[str, str | None] = {}
    for key in images:
        pairs[key] = next((masks[key + end] for end in ends if key + end in masks), None)
    return pairs


def need_masks(pairs: dict[str, str | None], images: dict[str, str], folder: Path, advice: str) -> None:
    """Checks that every image has a mask.

    Args:
        pairs: {image key: path of its mask, or None}.
        images: {image key: path}.
        folder: where the masks are, for the error.
        advice: the end of the error's sentence.

    Raises:
        DataError: names the images without a mask.
    """
    missing = [images[key] for key, mask in pairs.items() if mask is None]
    if missing:
        raise DataError(f"{len(missing)} of {len(pairs)} images have no mask in {folder}: {some(missing)}; {advice}")
