"""Data sets made of data sets: one after the other, or mixed by shares."""

from collections.abc import Sequence

import numpy as np

from segkit.data.dataset import Dataset
from segkit.files import DataError
from segkit.registry import DATASETS
from segkit.types import IGNORE, Sample


class Chain(Sequence):
    """Several sequences as one, without a copy."""

    def __init__(self, parts: Sequence[Sequence]):
        self._parts = parts
        self._ends = np.cumsum([len(part) for part in parts])

    def __len__(self) -> int:
        return int(self._ends[-1])

    def place(self, index: int) -> tuple[int, int]:
        """-> (number of the part, index within it)."""
        index = range(len(self))[index]
        part = int(np.searchsorted(self._ends, index, side="right"))
        return part, index - int(self._ends[part] - len(self._parts[part]))

    def __getitem__(self, index: int):
        part, inner = self.place(index)
        return self._parts[part][inner]


@DATASETS.register
class Concat(Dataset):
    """The items of several data sets of equal classes, one set after the other: dict(type="Concat", datasets=[...]).

    Ids begin with the set's number, "0:name", because two sets may have items of one name.
    """

    parts = {"datasets": DATASETS}

    def __init__(self, datasets: Sequence[Dataset]):
        if not datasets:
            raise DataError(f"{type(self).__name__}: no data set in datasets")
        first = datasets[0]
        for number, other in enumerate(datasets):
            if len(other) == 0:
                raise DataError(f"datasets[{number}]: {type(other).__name__} holds no item; check root and split")
            if tuple(other.classes) != tuple(first.classes):
                raise DataError(
                    f"datasets[{number}]: {type(other).__name__} has classes {', '.join(other.classes[:4])} ... and "
                    f"{type(first).__name__} {', '.join(first.classes[:4])} ...; only equal classes can be joined"
                )
            if getattr(other, "ignore", IGNORE) != getattr(first, "ignore", IGNORE):
                raise DataError(f"datasets[{number}]: another value is ignored than in datasets[0]")
        self.datasets = list(datasets)
        self.classes, self.palette = first.classes, first.palette
        self.ignore = getattr(first, "ignore", IGNORE)
        self.notes = tuple(note for inner in datasets for note in inner.notes)
        self._chain = Chain(self.datasets)
        self.ids = Ids(self.datasets)

    def _at(self, index: int) -> tuple[Dataset, int]:
        part, inner = self._chain.place(index)
        return self.datasets[part], inner

    def path(self, index: int) -> str:
        inner, place = self._at(index)
        return inner.path(place)

    def mask_path(self, index: int) -> str:
        inner, place = self._at(index)
        return inner.mask_path(place)

    def has_mask(self, index: int) -> bool:
        inner, place = self._at(index)
        return inner.has_mask(place)

    def image(self, index: int) -> np.ndarray:
        """-> the inner data set's image."""
        inner, place = self._at(index)
        return inner.image(place)

    def mask(self, index: int) -> np.ndarray:
        """-> the inner data set's mask."""
        inner, place = self._at(index)
        return inner.mask(place)

    def sample(self, index: int, rng: np.random.Generator) -> Sample:
        """-> the inner data set's sample, with the id of the whole."""
        inner, place = self._at(index)
        sample = inner.sample(place, rng)
        return Sample({**sample, "meta": {**sample["meta"], "id": self.ids[index]}})


class Ids(Chain):
    """Ids of the items of several data sets, "set:id"."""

    def __init__(self, datasets: Sequence[Dataset]):
        super().__init__([inner.ids for inner in datasets])

    def __getitem__(self, index: int) -> str:
        part, inner = self.place(index)
        return f"{part}:{self._parts[part][inner]}"


@DATASETS.register
class Mixed(Concat):
    """A training mixture: each sample comes from a data set drawn by `ratios` and is a uniform item of it.

    The index chooses nothing, it only counts: an epoch is as long as all sets together. `image` and `mask` by index are
    those of Concat. ratios: one positive number per set, of any sum.
    """

    parts = {"datasets": DATASETS}

    def __init__(self, datasets: Sequence[Dataset], ratios: Sequence[float]):
        super().__init__(datasets)
        shares = np.asarray(ratios, np.float64)
        if shares.shape != (len(self.datasets),) or not (np.isfinite(shares) & (shares > 0)).all():
            raise DataError(f"ratios = {list(ratios)}: give one positive number for each of {len(self.datasets)} sets")
        self.ratios = shares / shares.sum()

    def sample(self, index: int, rng: np.random.Generator) -> Sample:
        """-> a sample of a random item; rng draws the set, the item and what the set itself leaves to chance."""
        part = int(rng.choice(len(self.datasets), p=self.ratios))
        inner = int(rng.integers(len(self.datasets[part])))
        before = sum(len(dataset) for dataset in self.datasets[:part])
        return super().sample(before + inner, rng)
