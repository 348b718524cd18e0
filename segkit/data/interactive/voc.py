"""Objects of Pascal VOC 2012 and SBD for training and scoring clicks.

VOC: Everingham et al., IJCV 2015, http://host.robots.ox.ac.uk/pascal/VOC/voc2012. SBD: Hariharan et al., ICCV 2011,
http://home.bharathh.info/pubs/codes/SBD.
"""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from segkit.constraints.named import Fraction
from segkit.data.dataset import resolve_root
from segkit.data.files.masks import read_mask, values_of
from segkit.data.files.name_list import read_names
from segkit.data.files.packed_pickle import load_published
from segkit.data.files.pairs import choose_split, some
from segkit.data.interactive.base import ClickEvaluation, ClickTraining, Packed, as_target, in_layers, one_layer
from segkit.data.interactive.targets import Targets, find_targets
from segkit.data.semantic.voc import split_list, stems
from segkit.files import DataError, shortened
from segkit.readers.arrays import read_mat
from segkit.registry import DATASETS
from segkit.types import ClickObject, default_palette

VOID = 255
"""Palette index of outlines and hard regions; its color's grey value is 220."""

SBD_LAYOUT = "expects img/NAME.jpg, inst/NAME.mat and train.txt, val.txt below root (benchmark_RELEASE/dataset)"


def _found(folder: Path, suffix: str, names: Sequence[str], layout: str) -> dict[str, str]:
    """Paths of the named files of a folder, by name; DataError where some are missing."""
    paths = stems(folder, suffix)
    missing = [name for name in names if name not in paths]
    if missing:
        raise DataError(
            f"{folder}: {len(missing)} of {len(names)} files are missing: {some(missing)}{suffix}; {layout}"
        )
    return {name: paths[name] for name in names}


def equal_greys() -> np.ndarray:
    """For each index of VOC's palette, uint8 [256], the lowest index whose color has the same grey value."""
    colors = np.array(default_palette(256), np.uint8)[None]
    greys = cv2.cvtColor(colors, cv2.COLOR_RGB2GRAY)[0]
    return np.array([np.flatnonzero(greys == grey)[0] for grey in greys], np.uint8)


class _VocFiles:
    """Photographs and SegmentationObject of a split."""

    def __init__(self, root: str | None, split: str):
        layout = "VOC expects JPEGImages, SegmentationObject and ImageSets/Segmentation/*.txt below root"
        choose_split(split, ("train", "val", "trainval"), "VOC with objects")
        self.root = resolve_root(root, "VOCdevkit/VOC2012")
        self.names = split_list(self.root, split)
        self.images = _found(self.root / "JPEGImages", ".jpg", self.names, layout)
        self.masks = _found(self.root / "SegmentationObject", ".png", self.names, layout)


@DATASETS.register
class VOCClicks(ClickTraining):
    """Every object of VOC 2012, by palette index: 1,464 train, 1,449 val or 2,913 trainval images.

    Files below root: JPEGImages, SegmentationObject and ImageSets/Segmentation/<split>.txt. Index 255 is ignored.

    Args:
        root: folder VOCdevkit/VOC2012.
        split: "train", "val" or "trainval".

    Raises:
        DataError: files are missing.
    """

    folder = "VOCdevkit/VOC2012"

    def __init__(self, root: str | None = None, split: str = "train"):
        self._files = _VocFiles(root, split)
        self.ids = self._files.names

    def path(self, index: int) -> str:
        return self._files.images[self.ids[index]]

    def mask_path(self, index: int) -> str:
        return self._files.masks[self.ids[index]]

    def packed(self, index: int, rng: np.random.Generator) -> Packed:
        """Reads the image's objects into one layer."""
        return one_layer(read_mask(self.mask_path(index)), (VOID,), source=self.mask_path(index))


@DATASETS.register
class VOCClicksEval(ClickEvaluation):
    """Every object of VOC 2012 val, one item each: 1,449 images. Outlines (255) are not scored.

    Args:
        root: folder VOCdevkit/VOC2012.
        split: "train", "val" or "trainval".
        merge_greys: treats objects of one image as one object where their colors have the same grey value (1 and 16, 3
            and 18, 6 and 21, 9 and 24, 39 and 54, 42 and 57). The published list of 3,417 objects was made like this.

    Raises:
        DataError: files are missing.
    """

    folder = "VOCdevkit/VOC2012"

    def __init__(self, root: str | None = None, split: str = "val", *, merge_greys: bool = False):
        self._files = _VocFiles(root, split)
        self._merged = equal_greys() if merge_greys else np.arange(256, dtype=np.uint8)
        masks = self._files.root / "SegmentationObject"
        self._targets = find_targets(
            self._files.names, self._values, sources=[masks], about=f"voc objects merged={merge_greys}"
        )
        self.ids = self._targets

    def _labels(self, name: str) -> np.ndarray:
        return self._merged[read_mask(self._files.masks[name]).astype(np.uint8)]

    def _values(self, name: str) -> list[int]:
        return [value for value in values_of(self._labels(name)) if value != VOID]

    def path(self, index: int) -> str:
        return self._files.images[self._targets.name(index)]

    def mask_path(self, index: int) -> str:
        return self._files.masks[self._targets.name(index)]

    def mask(self, index: int) -> np.ndarray:
        """Reads the target mask, int8 [H,W] of 0, 1 and -1."""
        labels = self._labels(self._targets.name(index))
        return as_target(labels, self._targets.value(index), (VOID,), source=self.mask_path(index))


def read_instances(path: str) -> np.ndarray:
    """Reads the objects of SBD's inst/NAME.mat.

    Returns:
        uint8 or uint16 [H,W]: 0 background, 1..n objects.

    Raises:
        DataError: the file is damaged or no SBD instance file.
    """
    try:
        truth = read_mat(path, "GTinst")
        labels = np.asarray(truth[0, 0]["Segmentation"])
        return labels.astype(np.uint16 if labels.max(initial=0) > 255 else np.uint8)
    except (KeyError, IndexError, ValueError, TypeError) as error:
        raise DataError(f"{path}: no SBD instance file ({shortened(error, 200)}); unpack the download again") from error


def fill_of(mask: np.ndarray) -> float:
    """Share of its bounding box that a mask covers; mask: bool [H,W] with a pixel."""
    x, y = np.flatnonzero(mask.any(0)), np.flatnonzero(mask.any(1))
    return float(mask.sum() / ((x[-1] - x[0] + 1) * (y[-1] - y[0] + 1)))


class _SbdFiles:
    """Photographs and instance files of a split."""

    def __init__(self, root: str | None, split: str, name: str):
        layout = f"{name} {SBD_LAYOUT}"
        choose_split(split, ("train", "val"), name)
        self.root = resolve_root(root, "benchmark_RELEASE/dataset")
        self.names = read_names(self.root / f"{split}.txt", layout)
        self.images = _found(self.root / "img", ".jpg", self.names, layout)
        self.masks = _found(self.root / "inst", ".mat", self.names, layout)


@DATASETS.register
class SBDClicks(ClickTraining):
    """Every object of SBD: 8,498 train or 2,857 val images.

    Files below root: img/NAME.jpg, inst/NAME.mat and <split>.txt.

    Args:
        root: folder benchmark_RELEASE/dataset.
        split: "train" or "val".
        min_fill: objects that cover a smaller share of their bounding box are labelling mistakes and become background.

    Raises:
        DataError: files are missing.
    """

    folder = "benchmark_RELEASE/dataset"

    def __init__(self, root: str | None = None, split: str = "train", *, min_fill: Fraction = 0.08):
        self._files = _SbdFiles(root, split, "SBDClicks")
        self._min_fill = min_fill
        self.ids = self._files.names

    def path(self, index: int) -> str:
        return self._files.images[self.ids[index]]

    def mask_path(self, index: int) -> str:
        return self._files.masks[self.ids[index]]

    def packed(self, index: int, rng: np.random.Generator) -> Packed:
        """Reads the image's objects into one layer, numbered as in the file."""
        labels = read_instances(self.mask_path(index))
        values = [value for value in values_of(labels) if fill_of(labels == value) >= self._min_fill]
        layers, slots = in_layers(labels, values)
        return Packed(layers, {value: ClickObject(*slot) for value, slot in zip(values, slots)}, [])


@DATASETS.register
class SBDClicksEval(ClickEvaluation):
    """Every object of SBD val, one item each: 2,857 images, 6,671 objects. Nothing is ignored.

    The list of objects is root/<split>_images_and_ids_list.pkl where that file exists (`segkit prepare sbd` makes it);
    otherwise all labels are read to make one.

    Args:
        root: folder benchmark_RELEASE/dataset.
        split: "train" or "val".

    Raises:
        DataError: files are missing, or the list does not fit the split.
    """

    folder = "benchmark_RELEASE/dataset"

    def __init__(self, root: str | None = None, split: str = "val"):
        self._files = _SbdFiles(root, split, "SBDClicksEval")
        listed = self._files.root / f"{split}_images_and_ids_list.pkl"
        self._targets = self._listed(listed) if listed.is_file() else self._scanned(split)
        self.ids = self._targets

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
        sources = [self._files.root / f"{split}.txt", self._files.root / "inst"]
        return find_targets(self._files.names, self._values, sources=sources, about="sbd objects")

    def _values(self, name: str) -> list[int]:
        return values_of(read_instances(self._files.masks[name]))

    def path(self, index: int) -> str:
        return self._files.images[self._targets.name(index)]

    def mask_path(self, index: int) -> str:
        return self._files.masks[self._targets.name(index)]

    def mask(self, index: int) -> np.ndarray:
        """Reads the target mask, int8 [H,W] of 0 and 1."""
        path = self.mask_path(index)
        return as_target(read_instances(path), self._targets.value(index), source=path)
