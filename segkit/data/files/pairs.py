"""Data sets that are pairs of files, an image and a mask each: what the readers of official layouts share."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from segkit.data.dataset import Dataset
from segkit.data.files.images import IMAGE_SUFFIXES, read_image
from segkit.data.files.labels import LabelTable
from segkit.data.files.masks import read_mask
from segkit.files import DataError
from segkit.registry import did_you_mean


def list_files(folder: Path, suffixes: Sequence[str], layout: str) -> dict[str, str]:
    """folder: searched with all its subfolders -> {path below it without suffix: path}, sorted.

    layout: how the folder should look, for the error where it is missing. Hidden files are passed over; two files that
    differ only in their suffix are an error, because either may be meant.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; {layout}; set root=... or the variable SEGKIT_DATA")
    found: dict[str, str] = {}
    for place, folders, names in os.walk(folder, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        below = Path(place).relative_to(folder).as_posix()
        for name in names:
            stem, suffix = os.path.splitext(name)
            if name.startswith(".") or suffix.lower() not in suffixes:
                continue
            key = stem if below == "." else f"{below}/{stem}"
            path = os.path.join(place, name)
            if key in found:
                raise DataError(f"{path} and {found[key]}: one name twice; remove one of the two files")
            found[key] = path
    return dict(sorted(found.items()))


def read_list(path: Path, layout: str) -> list[str]:
    """The lines of a split file without blank ones; DataError where it is missing or empty."""
    try:
        lines = [line.strip() for line in path.read_text().splitlines()]
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}; {layout}") from error
    if not any(lines):
        raise DataError(f"{path}: the list is empty; one image name per line is expected")
    return [line for line in lines if line]


def some(names: Sequence[str], most: int = 5) -> str:
    """The first few names and how many more there are."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def split_names(text: str) -> tuple[str, ...]:
    """Names with commas between them, over several lines."""
    return tuple(" ".join(name.split()) for name in text.split(","))


def choose_split(split: str, known: Sequence[str], name: str) -> str:
    """split, where the data set `name` has it; otherwise DataError."""
    if split not in known:
        raise DataError(f"{name} has no split '{split}'{did_you_mean(split, known)}; there are {', '.join(known)}")
    return split


class FilePairs(Dataset):
    """A Dataset whose images and masks are files.

    A subclass calls `keep` once with the pairs it found and sets `labels`, the table from raw labels to classes.
    """

    labels: LabelTable
    channels: int = 3

    def keep(self, ids: Sequence[str], images: Sequence[str], masks: Sequence[str | None], place: Path) -> None:
        """ids, images, masks: one each per item, None for an image without labels; place: the folder, for the error."""
        if not ids:
            raise DataError(f"{place}: no images ({', '.join(IMAGE_SUFFIXES)}) here; check root and split")
        self.ids, self._images, self._masks = list(ids), list(images), list(masks)

    def path(self, index: int) -> str:
        return self._images[index]

    def mask_path(self, index: int) -> str:
        return self._masks[index] or self.path(index)

    def has_mask(self, index: int) -> bool:
        return self._masks[index] is not None

    def image(self, index: int) -> np.ndarray:
        """-> uint8 or float32 [H,W,C]; see read_image."""
        return read_image(self._images[index], self.channels)

    def mask(self, index: int) -> np.ndarray:
        """-> uint8 [H,W]: class indices and IGNORE."""
        path = self._masks[index]
        if path is None:
            raise DataError(f"{self.path(index)}: this image has no mask; choose a labelled split")
        return self.labels.apply(read_mask(path), path)


def pair(images: dict[str, str], masks: dict[str, str], ends: Sequence[str] = ("",)) -> dict[str, str | None]:
    """ends: what a mask's name has after the image's, first choice first -> {image key: its mask's path or None}."""
    found: dict[str, str | None] = {}
    for key in images:
        found[key] = next((masks[key + end] for end in ends if key + end in masks), None)
    return found


def need_masks(pairs: dict[str, str | None], images: dict[str, str], place: Path, advice: str) -> None:
    """DataError that names the images without a mask, where there are any."""
    missing = [images[key] for key, mask in pairs.items() if mask is None]
    if missing:
        raise DataError(f"{len(missing)} of {len(pairs)} images have no mask in {place}: {some(missing)}; {advice}")
