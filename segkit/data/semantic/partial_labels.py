"""Other label maps for the images of a data set: scribbles, points, blocks. H W image."""

from pathlib import Path
from typing import Annotated

import numpy as np

from segkit.constraints.named import OneOf
from segkit.data.dataset import Dataset, resolve_root
from segkit.data.files.masks import read_mask
from segkit.data.files.pairs import some
from segkit.files import DataError
from segkit.registry import DATASETS
from segkit.types import IGNORE

KINDS = ("scribbles", "points", "blocks")
"""Kinds of labels that cover little of an image."""


def label_file(folder: Path, name: str) -> Path:
    """Returns the file of an image's label map.

    Args:
        folder: of the files.
        name: id of the image.
    """
    return folder / f"{name}.png"


def labels_folder(dataset: Dataset, masks: str | None, kind: str) -> Path:
    """Returns the folder of a data set's label maps; arguments as of PartialLabels."""
    return resolve_root(masks, f"{dataset.folder or type(dataset).__name__.lower()}_{kind}")


@DATASETS.register
class PartialLabels(Dataset):
    """The images of another data set with label maps of a folder, such as scribbles, whose other pixels are 255.

    In a config: dict(type="PartialLabels", dataset=dict(type=...), masks=FOLDER). `segkit prepare scribbles` makes the
    files: masks/ID.png, uint8 of class indices. 255 marks pixels without a label; the transform MarkUnlabelled tells
    them from padding.

    Args:
        dataset: images, classes and colors.
        masks: folder of the label maps; None for the other set's folder below the data root with "_" and `kind` at its
            end.
        kind: what the labels are: "scribbles", "points" or "blocks".

    Raises:
        DataError: files are missing.
    """

    parts = {"dataset": DATASETS}

    def __init__(self, dataset: Dataset, masks: str | None = None, kind: Annotated[str, OneOf(KINDS)] = "scribbles"):
        self.dataset, self.masks, self.ids = dataset, labels_folder(dataset, masks, kind), dataset.ids
        self.classes, self.palette = dataset.classes, dataset.palette
        self.read_like(dataset)
        self.sizes, self.notes = dataset.sizes, dataset.notes
        missing = [name for name in self.ids if not label_file(self.masks, name).is_file()]
        if missing:
            raise DataError(
                f"{self.masks}: {len(missing)} of {len(self)} label maps NAME.png are missing: {some(missing)}; make "
                "them with: segkit prepare scribbles --config CONFIG --out FOLDER"
            )

    def path(self, index: int) -> str:
        return self.dataset.path(index)

    def mask_path(self, index: int) -> str:
        return str(label_file(self.masks, self.ids[index]))

    def has_mask(self, index: int) -> bool:
        return True

    def image(self, index: int) -> np.ndarray:
        """Returns the image of the other set."""
        return self.dataset.image(index)

    def mask(self, index: int) -> np.ndarray:
        """Returns the label map, uint8 [H,W] of class indices, 255 where there is no label."""
        path = self.mask_path(index)
        labels = read_mask(path)
        wrong = np.unique(labels[(labels != IGNORE) & (labels >= len(self.classes))])
        if len(wrong):
            raise DataError(
                f"{path}: holds the label {wrong[0]}, and there are {len(self.classes)} classes; labels are class "
                f"indices, {IGNORE} marks pixels without one"
            )
        return labels.astype(np.uint8)
