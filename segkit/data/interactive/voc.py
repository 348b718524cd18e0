"""Objects of Pascal VOC 2012, Everingham et al., IJCV 2015, and SBD, Hariharan et al., ICCV 2011, for clicks.

http://host.robots.ox.ac.uk/pascal/VOC/voc2012 and http://home.bharathh.info/pubs/codes/SBD
"""

import io
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from segkit.data.dataset import resolve_root
from segkit.data.files.images import read_bytes
from segkit.data.files.masks import read_mask, values_of
from segkit.data.files.packed_pickle import load_published
from segkit.data.files.pairs import choose_split, read_list, some
from segkit.data.interactive.base import ClickEvaluation, ClickTraining, Packed, as_target, in_layers, one_layer
from segkit.data.interactive.targets import Targets, find_targets
from segkit.data.semantic.voc import split_list, stems
from segkit.files import DataError
from segkit.registry import DATASETS
from segkit.types import ClickObject, default_palette

VOID = 255
"""Palette index of outlines and hard regions; its color's grey value is 220."""

SBD_LAYOUT = "expects img/NAME.jpg, inst/NAME.mat and train.txt, val.txt below root (benchmark_RELEASE/dataset)"


def _found(folder: Path, suffix: str, names: Sequence[str], layout: str) -> dict[str, str]:
    """-> {name: path} of the names in a folder; DataError where some are missing."""
    there = stems(folder, suffix)
    missing = [name for name in names if name not in there]
    if missing:
        raise DataError(
            f"{folder}: {len(missing)} of {len(names)} files are missing: {some(missing)}{suffix}; {layout}"
        )
    return {name: there[name] for name in names}


def equal_greys() -> np.ndarray:
    """-> uint8 [256]: the lowest palette index whose color has the same grey value."""
    colors = np.array(default_palette(256), np.uint8)[None]
    greys = cv2.cvtColor(colors, cv2.COLOR_RGB2GRAY)[0]
    return np.array([np.flatnonzero(greys == grey)[0] for grey in greys], np.uint8)


class _VocFiles:
    """Photographs and SegmentationObject of a split."""

    def __init__(self, root: str | None, split: str):
        layout = "VOC expects JPEGImages, SegmentationObject and ImageSets/Segmentation/*.txt below root"
        choose_split(split, ("train", "val", "trainval"), "VOC with objects")
        self.place = resolve_root(root, "VOCdevkit/VOC2012")
        self.names = split_list(self.place, split)
        self.images = _found(self.place / "JPEGImages", ".jpg", self.names, layout)
        self.masks = _found(self.place / "SegmentationObject", ".png", self.names, layout)


@DATASETS.register
class VOCClicks(ClickTraining):
    """Every object of VOC's train 1,464, val 1,449 or trainval images, by palette index; index 255 is ignored."""

    folder = "VOCdevkit/VOC2012"

    def __init__(self, root: str | None = None, split: str = "train"):
        self._files = _VocFiles(root, split)
        self.ids = self._files.names

    def path(self, index: int) -> str:
        return self._files.images[self.ids[index]]

    def mask_path(self, index: int) -> str:
        return self._files.masks[self.ids[index]]

    def packed(self, index: int, rng: np.random.Generator) -> Packed:
        """-> the image's objects in one layer."""
        return one_layer(read_mask(self.mask_path(index)), (VOID,), place=self.mask_path(index))


@DATASETS.register
class VOCClicksEval(ClickEvaluation):
    """Every object of VOC val, one item each: 1,449 images; outlines (255) are not scored.

    merge_greys: the published list tells objects by the grey value of their color, so that objects 1 and 16, 3 and 18,
    6 and 21, 9 and 24 of one image are one (and 39 and 54, 42 and 57); True does the same. Published: 3,417 objects.
    """

    folder = "VOCdevkit/VOC2012"

    def __init__(self, root: str | None = None, split: str = "val", *, merge_greys: bool = False):
        self._files = _VocFiles(root, split)
        self._same = equal_greys() if merge_greys else np.arange(256, dtype=np.uint8)
        masks = self._files.place / "SegmentationObject"
        self.ids: Targets = find_targets(
            self._files.names, self._values, sources=[masks], about=f"voc objects merged={merge_greys}"
        )

    def _labels(self, name: str) -> np.ndarray:
        return self._same[read_mask(self._files.masks[name]).astype(np.uint8)]

    def _values(self, name: str) -> list[int]:
        return [value for value in values_of(self._labels(name)) if value != VOID]

    def path(self, index: int) -> str:
        return self._files.images[self.ids.name(index)]

    def mask_path(self, index: int) -> str:
        return self._files.masks[self.ids.name(index)]

    def mask(self, index: int) -> np.ndarray:
        """-> int8 [H,W] of 0, 1 and -1."""
        return as_target(
            self._labels(self.ids.name(index)), self.ids.value(index), (VOID,), place=self.mask_path(index)
        )


def read_instances(path: str) -> np.ndarray:
    """inst/NAME.mat -> uint8 or uint16 [H,W]: 0 background, 1..n objects."""
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    try:
        truth = loadmat(io.BytesIO(read_bytes(path)))["GTinst"]
        labels = np.asarray(truth[0, 0]["Segmentation"])
        return labels.astype(np.uint16 if labels.max(initial=0) > 255 else np.uint8)
    except (MatReadError, KeyError, IndexError, ValueError, TypeError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path}: no SBD instance file ({error}); unpack the download again") from error


def fill_of(mask: np.ndarray) -> float:
    """mask: bool [H,W] with a pixel -> its share of its bounding box."""
    x, y = np.flatnonzero(mask.any(0)), np.flatnonzero(mask.any(1))
    return float(mask.sum() / ((x[-1] - x[0] + 1) * (y[-1] - y[0] + 1)))


class _SbdFiles:
    """Photographs and instance files of a split."""

    def __init__(self, root: str | None, split: str, name: str):
        layout = f"{name} {SBD_LAYOUT}"
        choose_split(split, ("train", "val"), name)
        self.place = resolve_root(root, "benchmark_RELEASE/dataset")
        self.names = read_list(self.place / f"{split}.txt", layout)
        self.images = _found(self.place / "img", ".jpg", self.names, layout)
        self.masks = _found(self.place / "inst", ".mat", self.names, layout)


@DATASETS.register
class SBDClicks(ClickTraining):
    """Every object of SBD's train 8,498 or val 2,857 images. min_fill: objects that cover a smaller share of their
    bounding box are mistakes of labelling and become background."""

    folder = "benchmark_RELEASE/dataset"

    def __init__(self, root: str | None = None, split: str = "train", *, min_fill: float = 0.08):
        self._files = _SbdFiles(root, split, "SBDClicks")
        self._min_fill = min_fill
        self.ids = self._files.names

    def path(self, index: int) -> str:
        return self._files.images[self.ids[index]]

    def mask_path(self, index: int) -> str:
        return self._files.masks[self.ids[index]]

    def packed(self, index: int, rng: np.random.Generator) -> Packed:
        """-> the image's objects in one layer, numbered as in the file."""
        labels = read_instances(self.mask_path(index))
        values = [value for value in values_of(labels) if fill_of(labels == value) >= self._min_fill]
        layers, places = in_layers(labels, values)
        return Packed(layers, {value: ClickObject(*place) for value, place in zip(values, places)}, [])


@DATASETS.register
class SBDClicksEval(ClickEvaluation):
    """Every object of SBD val, one item each: 2,857 images, 6,671 objects; nothing is ignored. The list is
    root/val_images_and_ids_list.pkl where that is there (prepare_data.py sbd), else made by reading all labels."""

    folder = "benchmark_RELEASE/dataset"

    def __init__(self, root: str | None = None, split: str = "val"):
        self._files = _SbdFiles(root, split, "SBDClicksEval")
        listed = self._files.place / f"{split}_images_and_ids_list.pkl"
        self.ids: Targets = self._listed(listed) if listed.is_file() else self._scanned(split)

    def _listed(self, path: Path) -> Targets:
        try:
            rows = [(str(name), [int(value)]) for name, value in load_published(path)]
        except (TypeError, ValueError) as error:
            raise DataError(f"{path}: expected a list of (image name, instance id): {error}") from error
        strange = [name for name, _ in rows if name not in self._files.images]
        if strange or not rows:
            raise DataError(f"{path}: {some(strange) or 'no image'}: not of this split; make the list again")
        return Targets(rows)

    def _scanned(self, split: str) -> Targets:
        sources = [self._files.place / f"{split}.txt", self._files.place / "inst"]
        return find_targets(self._files.names, self._values, sources=sources, about="sbd objects")

    def _values(self, name: str) -> list[int]:
        return values_of(read_instances(self._files.masks[name]))

    def path(self, index: int) -> str:
        return self._files.images[self.ids.name(index)]

    def mask_path(self, index: int) -> str:
        return self._files.masks[self.ids.name(index)]

    def mask(self, index: int) -> np.ndarray:
        """-> int8 [H,W] of 0 and 1."""
        place = self.mask_path(index)
        return as_target(read_instances(place), self.ids.value(index), place=place)
