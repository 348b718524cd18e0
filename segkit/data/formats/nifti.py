"""Volumes of nnU-Net and the Medical Segmentation Decathlon: pairs of NIfTI files whose slices are the images.

Formats: https://github.com/MIC-DKFZ/nnUNet/blob/master/documentation/dataset_format.md and http://medicaldecathlon.com.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from segkit.data.files.nifti import SUFFIXES, Volume, read_slice, read_volume
from segkit.data.files.pairs import some
from segkit.data.formats.base import LabelledImage, LabelReader
from segkit.data.formats.entries import entry_of, label_of, read_entry, whole_of
from segkit.data.formats.gathered import ends_of
from segkit.files import DataError, brief
from segkit.types import IGNORE

META, IMAGES, LABELS = "dataset.json", "imagesTr", "labelsTr"
IGNORED = "ignore"
"""Name of the label of what is left out; nnU-Net has it so."""


class _Case(NamedTuple):
    """The volumes of a case: of each channel of the image, and of the labels."""

    images: list[Volume]
    labels: Volume


class NiftiReader(LabelReader):
    """The slices across z of all cases in imagesTr and labelsTr; an item's path ends with # and its slice."""

    format = "nifti"

    def __init__(self, root: Path) -> None:
        super().__init__()
        labels = entry_of(read_entry(root / META).get("labels"), f"{root / META}, labels")
        self._values = self._read_labels(labels, f"{root / META}, labels")
        self._cases, missing = [], []
        for path in sorted((root / LABELS).iterdir()):
            name = next((path.name[: -len(end)] for end in SUFFIXES if path.name.lower().endswith(end)), None)
            if name is None or name.startswith("."):
                continue
            images = [read_volume(image) for image in _images_of(root / IMAGES, name)]
            if not images:
                missing.append(path.name)
                continue
            self._cases.append(_case(images, read_volume(path)))
        if not self._cases:
            raise DataError(f"{root}: no volume in {LABELS} has its image in {IMAGES}; copy the images there")
        if missing:
            self.notes = (f"{len(missing)} volumes of {LABELS} have no image in {IMAGES}: {some(missing, 3)}",)
        self._slices = [(case, z) for case in self._cases for z in range(case.labels.slices)]
        self.images = [Path(f"{case.images[0].path}#{z:04d}") for case, z in self._slices]

    @classmethod
    def sniff(cls, root: Path) -> str | None:
        has_all = all((root / name).is_dir() for name in (IMAGES, LABELS)) and '"labels"' in ends_of(root / META)
        return f"{META} with 'labels' beside {IMAGES} and {LABELS}" if has_all else None

    @classmethod
    def open(cls, root: Path) -> "NiftiReader":
        for name in (IMAGES, LABELS):
            if not (root / name).is_dir():
                raise DataError(
                    f"{root}: no folder {name} here; give the folder that has {META}, {IMAGES} and {LABELS}"
                )
        return cls(root)

    def is_labelled(self, index: int) -> bool:
        return True

    def label_file(self, index: int) -> Path | None:
        return self._slices[index][0].labels.path

    def item(self, index: int) -> LabelledImage:
        case, z = self._slices[index]
        stored = read_slice(case.labels, z)
        label_map = np.full(stored.shape, IGNORE, np.uint8)
        known = np.zeros(stored.shape, bool)
        for value, label in self._values.items():
            is_value = stored == value
            label_map[is_value] = label
            known |= is_value
        if not known.all():
            y, x = (int(places[0]) for places in np.nonzero(~known))
            raise DataError(
                f"{case.labels.path}, slice {z}: the label {stored[y, x]} at x={x}, y={y} has no name in {META}; "
                "add it there"
            )
        return LabelledImage(self.images[index], case.labels.size, label_map=label_map)

    def channels(self, index: int) -> int:
        return sum(volume.channels for volume in self._slices[index][0].images)

    def pixels(self, index: int, channels: int = 3) -> np.ndarray:
        case, z = self._slices[index]
        found = [read_slice(volume, z, channel) for volume in case.images for channel in range(volume.channels)]
        if len(found) not in (1, channels):
            raise DataError(f"{self.images[index]}: {len(found)} channels where {channels} are expected; set channels")
        image = np.stack(found * (channels if len(found) == 1 else 1), axis=2)
        return image if image.dtype == np.uint8 else image.astype(np.float32)

    def _read_labels(self, labels: Mapping[str, object], source: str) -> dict[int, int]:
        """The class of each stored value; sets `classes`."""
        numbered: dict[int, str] = {}
        for key, value in labels.items():
            # nnU-Net has {name: number} today, and had {number: name} as the Decathlon
            if isinstance(value, list):
                self.lost["regions of several labels"] += 1
                continue
            is_old = key.isascii() and key.isdecimal() and isinstance(value, str)
            name, number = (value, key) if is_old else (key, value)
            raw = whole_of(number, f"the number of {brief(name)}", source)
            if raw in numbered:
                raise DataError(
                    f"{source}: {brief(numbered[raw])} and {brief(name)} have the number {raw}; correct one"
                )
            numbered[raw] = label_of(name, source)
        kept = [raw for raw in sorted(numbered) if numbered[raw] != IGNORED]
        if not 1 <= len(kept) < IGNORE:
            raise DataError(f"{source}: {len(kept)} classes with a number of their own; 1 to {IGNORE - 1} are read")
        self.classes = tuple(numbered[raw] for raw in kept)
        values = {raw: index for index, raw in enumerate(kept)}
        return values | {raw: IGNORE for raw in numbered if raw not in values}


def _images_of(folder: Path, name: str) -> list[Path]:
    """The files of a case: one, or one for each channel with its number."""
    single = [folder / f"{name}{end}" for end in SUFFIXES if (folder / f"{name}{end}").is_file()]
    if single:
        return single[:1]
    found: list[Path] = []
    while True:
        numbered = [folder / f"{name}_{len(found):04d}{end}" for end in SUFFIXES]
        channel = next((path for path in numbered if path.is_file()), None)
        if channel is None:
            return found
        found.append(channel)


def _case(images: list[Volume], labels: Volume) -> _Case:
    for image in images:
        if (image.size, image.slices) != (labels.size, labels.slices) or labels.channels != 1:
            mine, theirs = ([volume.size[1], volume.size[0], volume.slices] for volume in (labels, image))
            raise DataError(f"{labels.path}: voxels {mine}, of {image.path} {theirs}; bring both to one grid")
    return _Case(images, labels)
