"""Boundaries of another data set's classes and the directions away from them: what SegFix learns.

Yuan et al., SegFix, ECCV 2020, https://arxiv.org/abs/2007.04269.
"""

from pathlib import Path

import numpy as np

from segkit.constraints.named import PositiveInt
from segkit.data.dataset import Dataset, resolve_root
from segkit.files import DataError
from segkit.readers.arrays import read_mat
from segkit.registry import DATASETS
from segkit.types import IGNORE, Sample

DEGREES = 2
"""Step of the angles in files of segkit."""

CLASSES = {"interior": (0, 0, 0), "boundary": (255, 255, 255)}
"""Names and colors."""


def target_file(folder: Path, name: str) -> Path:
    """Returns the file of an item's targets.

    Args:
        folder: of the targets.
        name: the item's id, whose "/" are folders.
    """
    return folder / f"{name}.mat"


@DATASETS.register
class SegFixTargets(Dataset):
    """The images of another data set; a pixel is "boundary" where another class is near, else "interior".

    In a config: dict(type="SegFixTargets", dataset=dict(type=...)). The targets are files that `segkit prepare segfix
    --config CONFIG` makes of the other set's label maps once, in the format of SegFix's published code, whose own files
    are read too: ID.mat with depth, dir_deg and deg_reduce. Samples hold the directions as "angle".

    Args:
        dataset: images and label maps.
        targets: folder of the files; None for the other set's folder below the data root with "_segfix" at its end.
        distance: pixels whose distance to the nearest other class, rounded down, is at most this are boundary.

    Raises:
        DataError: files are missing.
    """

    parts = {"dataset": DATASETS}
    classes = tuple(CLASSES)
    palette = tuple(CLASSES.values())

    def __init__(self, dataset: Dataset, targets: str | None = None, *, distance: PositiveInt = 5):
        self.dataset, self.distance, self.ids = dataset, distance, dataset.ids
        self.targets = targets_folder(dataset, targets)
        self.read_like(dataset)
        self.sizes, self.notes = dataset.sizes, dataset.notes
        missing = [i for i in range(len(self)) if dataset.has_mask(i) and not self._file(i).is_file()]
        if missing:
            raise DataError(
                f"{self._file(missing[0])}: {len(missing)} of {len(self)} files with targets of SegFix are missing; "
                "make them with: segkit prepare segfix --config CONFIG"
            )

    def _file(self, index: int) -> Path:
        return target_file(self.targets, self.ids[index])

    def path(self, index: int) -> str:
        return self.dataset.path(index)

    def mask_path(self, index: int) -> str:
        return str(self._file(index))

    def has_mask(self, index: int) -> bool:
        return self.dataset.has_mask(index)

    def image(self, index: int) -> np.ndarray:
        """Returns the image of the other set."""
        return self.dataset.image(index)

    def mask(self, index: int) -> np.ndarray:
        """Returns uint8 [H,W]: 1 on boundaries, 0 elsewhere, 255 where the other set's labels are ignored."""
        labels, depth = self.dataset.mask(index), self._read(index, "depth")
        if depth.shape != labels.shape:
            raise DataError(
                f"{self._file(index)}: targets of {depth.shape[1]}x{depth.shape[0]} pixels for a mask of "
                f"{labels.shape[1]}x{labels.shape[0]} ({self.dataset.mask_path(index)}); remove the file, and make it "
                "again with: segkit prepare segfix --config CONFIG"
            )
        return np.where(labels == self.dataset.ignore, IGNORE, depth <= self.distance).astype(np.uint8)

    def sample(self, index: int, rng: np.random.Generator) -> Sample:
        """Reads one item, with "angle" where it is labelled; see Dataset.sample."""
        sample = super().sample(index, rng)
        if self.has_mask(index):
            step = self._read(index, "deg_reduce")
            sample["angle"] = self._read(index, "dir_deg").astype(np.float32) * float(step.flat[0]) - 180
        return sample

    def _read(self, index: int, name: str) -> np.ndarray:
        values = np.asarray(read_mat(self._file(index), name))
        if values.ndim != 2 or values.dtype.kind not in "uif":
            raise DataError(f"{self._file(index)}: '{name}' is no map of numbers; make the file again")
        return values


def targets_folder(dataset: Dataset, targets: str | None) -> Path:
    """Returns the folder of a data set's targets; arguments as of SegFixTargets."""
    return resolve_root(targets, f"{dataset.folder or type(dataset).__name__.lower()}_segfix")
