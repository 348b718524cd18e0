"""A part of a data set: one of k folds, or all the others."""

import numpy as np

from segkit.constraints.named import NonNegativeInt, PositiveInt
from segkit.data.dataset import Dataset
from segkit.files import DataError
from segkit.registry import DATASETS
from segkit.types import Sample


@DATASETS.register
class Fold(Dataset):
    """All images of a data set but those of one fold, to train on; or that fold alone, to score or to label.

    The images, in the order of their ids, are dealt out to the folds by a permutation of the seed; the sizes of folds
    differ by one at most. Fold 0 of 8 alone is a fixed eighth of the labels, and the other seven are the rest.

    Args:
        dataset: the whole data set.
        folds: number of folds, 2 or more.
        fold: which one, from 0.
        only: whether the items are those of the fold, and not all the others.
        seed: of the permutation.

    Raises:
        DataError: there is no such fold, or it would be empty.
    """

    parts = {"dataset": DATASETS}

    def __init__(
        self,
        dataset: Dataset,
        folds: PositiveInt = 5,
        fold: NonNegativeInt = 0,
        *,
        only: bool = False,
        seed: NonNegativeInt = 0,
    ):
        if not 2 <= folds <= len(dataset):
            raise DataError(
                f"Fold.folds = {folds}: must lie between 2 and {len(dataset)}, the number of images of "
                f"{type(dataset).__name__}"
            )
        if not 0 <= fold < folds:
            raise DataError(f"Fold.fold = {fold}: the folds are 0 to {folds - 1}")
        self.dataset, self.folds, self.fold, self.only, self.seed = dataset, folds, fold, only, seed
        order = sorted(range(len(dataset)), key=lambda index: str(dataset.ids[index]))
        dealt = np.random.default_rng(seed).permutation(len(order))
        chosen = {order[place] for place in dealt[fold::folds]}
        self._kept = [index for index in range(len(dataset)) if (index in chosen) is only]
        self.ids = [dataset.ids[index] for index in self._kept]
        self.classes, self.palette, self.ignore = dataset.classes, dataset.palette, dataset.ignore
        self.read_like(dataset)
        self.shown = dataset.shown
        self.notes, self.facts = dataset.notes, dataset.facts
        self.sizes = None if dataset.sizes is None else dataset.sizes[self._kept]

    def path(self, index: int) -> str:
        return self.dataset.path(self._kept[index])

    def mask_path(self, index: int) -> str:
        return self.dataset.mask_path(self._kept[index])

    def has_mask(self, index: int) -> bool:
        return self.dataset.has_mask(self._kept[index])

    def image(self, index: int) -> np.ndarray:
        """Reads an image of the whole set."""
        return self.dataset.image(self._kept[index])

    def mask(self, index: int) -> np.ndarray:
        """Reads a label map of the whole set."""
        return self.dataset.mask(self._kept[index])

    def sample(self, index: int, rng: np.random.Generator) -> Sample:
        """Reads a sample of the whole set."""
        return self.dataset.sample(self._kept[index], rng)
