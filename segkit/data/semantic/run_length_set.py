"""Base of data sets whose masks stand as run-length codes in a CSV table: one mask per class, which may overlap."""

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np

from segkit.data.dataset import Dataset
from segkit.data.files.images import read_image
from segkit.data.files.pairs import list_files, some
from segkit.data.files.rle_table import Code, Table, TableLayout
from segkit.data.transforms.operations import nearest_index
from segkit.files import DataError
from segkit.registry import ConfigError
from segkit.types import Sample

SPLITS = ("train", "val", "all", "test")
"""Parts of the data: labelled images without those of a fold, those of a fold, all labelled ones, unlabelled ones."""


class RunLengthSet(Dataset):
    """Images of a folder, and masks of a table.

    Masks are uint8 [H,W,K], 1 where a class is and 0 elsewhere; a pixel may be of several classes or none. Models have
    a sigmoid for each class (runner "MultiLabel").

    The labelled images are dealt to folds so that all have nearly the same share of each combination of classes.

    Attributes:
        layout: of the table, and of submissions.
        suffixes: of the image files.
        keeps_suffix: whether the table names images with their suffix.
        scored_size: (H, W) to which masks are resized in samples, images are not; predictions are made at that size.
            None for the images' own size.
    """

    layout: ClassVar[TableLayout]
    suffixes: ClassVar[tuple[str, ...]] = (".png",)
    keeps_suffix: ClassVar[bool] = False
    scored_size: tuple[int, int] | None = None

    def read_split(
        self, split: str, table: Path, images: Path, test_images: Path, *, fold: int, folds: int, tree: str
    ) -> None:
        """Sets `ids` and what is read of each item.

        Args:
            split: one of SPLITS.
            table: CSV file of the labels.
            images: folder of the labelled images.
            test_images: folder of the unlabelled ones.
            fold: number of the fold that split "val" has, from 0.
            folds: how many folds there are.
            tree: how the files should lie, for errors.

        Raises:
            DataError: a file is missing, the table is wrong or names images that are not there.
        """
        if split not in SPLITS:
            raise ConfigError(f"{type(self).__name__}.split = {split!r}: must be one of {', '.join(SPLITS)}")
        if not 0 <= fold < folds:
            raise ConfigError(f"{type(self).__name__}.fold = {fold}: must be from 0 to {folds - 1} of {folds} folds")
        self.table, self.is_labelled = table, split != "test"
        folder = images if self.is_labelled else test_images
        files: dict[str, str] = {}
        for path in list_files(folder, self.suffixes, tree).values():
            other = files.setdefault(self._name(path), path)
            if other != path:
                raise DataError(f"{path} and {other}: one name twice; the table could mean either, remove one of them")
        if not self.is_labelled:
            self._keep(files, {name: {} for name in files})
            return
        content = self.layout.read(table, self.classes)
        check_known(content, files, folder)
        unlabelled = [name for name in files if name not in content.codes]
        if unlabelled:
            self.notes = (f"{len(unlabelled)} images have no row in {table} and are left out: {some(unlabelled, 3)}",)
        fold_of = deal(content, folds)
        is_kept = {"train": lambda name: fold_of[name] != fold, "val": lambda name: fold_of[name] == fold}
        names = [name for name in sorted(content.codes) if is_kept.get(split, lambda name: True)(name)]
        self._keep({name: files[name] for name in names}, {name: content.codes[name] for name in names})
        shares = [f"{name} {sum(bool(drawn(c, name)) for c in self._codes)}" for name in self.classes]
        self.facts = (f"images that hold each class: {', '.join(shares)} of {len(names)}",)

    def _name(self, path: str) -> str:
        """As the table names an image."""
        return Path(path).name if self.keeps_suffix else Path(path).stem

    def _keep(self, files: dict[str, str], codes: dict[str, dict[str, list[Code]]]) -> None:
        self.ids, self._files, self._codes = list(files), list(files.values()), [codes[name] for name in files]

    def path(self, index: int) -> str:
        return self._files[index]

    def mask_path(self, index: int) -> str:
        lines = [str(code.line) for codes in self._codes[index].values() for code in codes]
        return f"{self.table}, line{'s' if len(lines) > 1 else ''} {', '.join(lines)} ({self.ids[index]})"

    def has_mask(self, index: int) -> bool:
        return self.is_labelled

    def image(self, index: int) -> np.ndarray:
        """Returns the image, uint8 [H,W,3] RGB."""
        return read_image(self.path(index))

    def mask(self, index: int) -> np.ndarray:
        """Returns the masks, uint8 [H,W,K] of 0 and 1, at the image's size; the image is read for its size alone."""
        height, width = self.image(index).shape[:2]
        return self.masks(index, (height, width))

    def masks(self, index: int, size: tuple[int, int]) -> np.ndarray:
        """Draws the masks of an image of (H, W) pixels, uint8 [H,W,K] of 0 and 1."""
        codes = self._codes[index]
        planes = [self.layout.decode(codes[name], size, self.table) for name in self.classes]
        return np.stack(planes).transpose(1, 2, 0)

    def sample(self, index: int, rng: np.random.Generator) -> Sample:
        """Reads one item, see Dataset.sample; with `scored_size` masks and meta["size"] are of that size."""
        image = self.image(index)
        size = (image.shape[0], image.shape[1])
        sample = Sample(image=image, meta={"id": self.ids[index], "path": self.path(index), "size": size})
        if self.is_labelled:
            sample["mask"] = self.masks(index, size)
        if self.scored_size is not None:
            sample["meta"]["size"] = self.scored_size
            if self.is_labelled:
                rows, columns = (nearest_index(a, b) for a, b in zip(size, self.scored_size))
                sample["mask"] = sample["mask"][rows][:, columns]
        return sample


def drawn(codes: dict[str, list[Code]], name: str) -> list[Code]:
    """Returns the codes of a class that hold a pixel."""
    return [code for code in codes.get(name, ()) if code.text]


def check_known(content: Table, files: dict[str, str], folder: Path) -> None:
    """Checks that each image of a table is there.

    Args:
        content: the table.
        files: path of each image, by the name that tables give it.
        folder: of the images, for the error.

    Raises:
        DataError: names the first missing image and its line, and how many there are.
    """
    missing = [name for name in content.codes if name not in files]
    if missing:
        more = f" ({len(missing)} such images)" if len(missing) > 1 else ""
        raise DataError(
            f"{content.path}, line {content.lines[missing[0]]}: there is no image '{missing[0]}' in {folder}{more}; "
            "copy the images, or remove their rows"
        )


def deal(content: Table, folds: int) -> dict[str, int]:
    """Deals the images of a table to folds, each combination of classes evenly; the same in every run.

    Args:
        content: the table.
        folds: how many.

    Returns:
        The fold of each image, 0 <= fold < folds.
    """
    names = sorted(content.codes)
    order = np.random.default_rng(0).permutation(len(names)).tolist()

    def classes_of(number: int) -> tuple[str, ...]:
        codes = content.codes[names[number]]
        return tuple(name for name in codes if drawn(codes, name))

    ordered: Sequence[int] = sorted(order, key=classes_of)
    return {names[number]: position % folds for position, number in enumerate(ordered)}
