"""TGS Salt Identification (Kaggle, 2018): seismic images of 101x101, and the depth of each.

https://www.kaggle.com/c/tgs-salt-identification-challenge
"""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np

from segkit.constraints.named import NonNegativeInt, PositiveInt
from segkit.data.dataset import resolve_root
from segkit.data.files.rle_table import TableLayout
from segkit.data.semantic.run_length_set import RunLengthSet
from segkit.files import DataError, brief, read_text
from segkit.registry import DATASETS
from segkit.types import Color

TREE = "expected train.csv, depths.csv, train/images/ID.png and test/images/ID.png below root"

DEEPEST = 1000.0
"""Depth in feet that becomes 255 in the depth channel; the competition's deepest image lies at 959."""


@DATASETS.register
class Salt(RunLengthSet):
    """TGS salt: grey images of 101x101, one class, and the depth of each image as a channel.

    Args:
        root: the folder; None for the default.
        split: "train" (labelled images without those of the fold), "val" (those of the fold), "all" (both), or "test"
            (test/images, without labels).
        fold: number of the fold of "val".
        folds: how many folds the labelled images are dealt to.
        depth: whether the third channel is the depth of depths.csv, 255 / 1000 of it everywhere, instead of the grey
            value; images are float32 then.

    Raises:
        DataError: a file is missing, train.csv is wrong, or depths.csv lacks an image.
    """

    folder = "salt"
    classes = ("salt",)
    palette: tuple[Color, ...] = ((230, 159, 0),)
    layout: ClassVar[TableLayout] = TableLayout(("id", "rle_mask"))

    def __init__(
        self,
        root: str | None = None,
        split: str = "train",
        *,
        fold: NonNegativeInt = 0,
        folds: PositiveInt = 5,
        depth: bool = True,
    ):
        self.root, self.split, self.fold, self.folds = resolve_root(root, self.folder), split, fold, folds
        self.depth = depth
        images, tests = self.root / "train" / "images", self.root / "test" / "images"
        self.read_split(split, self.root / "train.csv", images, tests, fold=fold, folds=folds, tree=TREE)
        self.depths = read_depths(self.root / "depths.csv", self.ids) if depth else {}

    def image(self, index: int) -> np.ndarray:
        """Returns the image, [H,W,3]: uint8 RGB, or with `depth` float32 of grey, grey and depth."""
        image = super().image(index)
        if not self.depth:
            return image
        deep = image.astype(np.float32)
        deep[:, :, 2] = self.depths[self.ids[index]] * (255 / DEEPEST)
        return deep


def read_depths(path: Path, ids: Sequence[str]) -> dict[str, float]:
    """Reads the depth of each image.

    Args:
        path: the CSV file with the columns id and z.
        ids: names of the images that must be there.

    Returns:
        Depth in feet by name.

    Raises:
        DataError: the file is no such table, a depth is no number from 0 to 1000, or an image is missing or twice.
    """
    depths: dict[str, float] = {}
    for line, row in enumerate(csv.reader(read_text(path).splitlines()), 1):
        if line == 1:
            if [name.strip() for name in row] != ["id", "z"]:
                raise DataError(f"{path}, line 1: the head must be id,z")
            continue
        if not row:
            continue
        try:
            name, depth = row[0].strip(), float(row[1])
        except (IndexError, ValueError) as error:
            raise DataError(f"{path}, line {line}: {brief(','.join(row))} is no id and depth in feet") from error
        if name in depths:
            raise DataError(f"{path}, line {line}: {brief(name)} stands twice; remove one of the rows")
        if not 0 <= depth <= DEEPEST:
            raise DataError(f"{path}, line {line}: depth {brief(depth)} must lie from 0 to {DEEPEST:g} feet")
        depths[name] = depth
    missing = [name for name in ids if name not in depths]
    if missing:
        raise DataError(f"{path}: has no depth of '{missing[0]}' ({len(missing)} images lack theirs); add their rows")
    return depths
