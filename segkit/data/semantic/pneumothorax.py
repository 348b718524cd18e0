"""SIIM-ACR Pneumothorax Segmentation (Kaggle, 2019): chest radiographs, most of them without a pneumothorax.

https://www.kaggle.com/c/siim-acr-pneumothorax-segmentation
"""

from typing import ClassVar

import numpy as np

from segkit.constraints.named import NonNegativeInt, PositiveInt
from segkit.data.dataset import resolve_root
from segkit.data.files.dicom import dicom_size, read_dicom
from segkit.data.files.rle_table import TableLayout
from segkit.data.files.run_lengths import RELATIVE
from segkit.data.semantic.run_length_set import RunLengthSet
from segkit.registry import DATASETS
from segkit.types import Color

TREE = "expected train-rle.csv, dicom-images-train/**/ID.dcm (or .png) and dicom-images-test/**/ID.dcm below root"


@DATASETS.register
class Pneumothorax(RunLengthSet):
    """SIIM-ACR pneumothorax: radiographs of 1024x1024 as DICOM (needs pydicom) or PNG, and one class.

    train-rle.csv has relative run lengths, -1 for a radiograph without a pneumothorax, and a row for each of several
    regions, whose union is the mask. Radiographs without a row are left out.

    Args:
        root: the folder; None for the default.
        split: "train" (labelled images without those of the fold), "val" (those of the fold), "all" (both), or "test"
            (dicom-images-test, without labels).
        fold: number of the fold of "val".
        folds: how many folds the labelled images are dealt to.
        table: name of the table below root.

    Raises:
        DataError: a file is missing, or the table is wrong.
    """

    folder = "siim"
    classes = ("pneumothorax",)
    palette: tuple[Color, ...] = ((213, 94, 0),)
    layout: ClassVar[TableLayout] = TableLayout(
        ("ImageId", "EncodedPixels"), run_lengths=RELATIVE, empty="-1", several=True
    )
    suffixes = (".dcm", ".png")

    def __init__(
        self,
        root: str | None = None,
        split: str = "train",
        *,
        fold: NonNegativeInt = 0,
        folds: PositiveInt = 5,
        table: str = "train-rle.csv",
    ):
        self.root, self.split, self.fold, self.folds = resolve_root(root, self.folder), split, fold, folds
        images, tests = self.root / "dicom-images-train", self.root / "dicom-images-test"
        self.read_split(split, self.root / table, images, tests, fold=fold, folds=folds, tree=TREE)

    def image(self, index: int) -> np.ndarray:
        """Returns the radiograph, uint8 or float32 [H,W,3] of three equal channels."""
        path = self.path(index)
        if not is_dicom(path):
            return super().image(index)
        return np.ascontiguousarray(np.broadcast_to(grey := read_dicom(path), (*grey.shape[:2], 3)))

    def mask(self, index: int) -> np.ndarray:
        """Returns the mask, uint8 [H,W,1] of 0 and 1; of a DICOM file only the head is read."""
        path = self.path(index)
        return self.masks(index, dicom_size(path)) if is_dicom(path) else super().mask(index)


def is_dicom(path: str) -> bool:
    """Whether a file is named as DICOM files are."""
    return path.lower().endswith(".dcm")
