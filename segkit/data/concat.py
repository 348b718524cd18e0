"""Data sets made of other data sets: one after the other, or mixed in given proportions."""

from collections.abc import Sequence

import numpy as np

from segkit.constraints.named import PositiveFloat
from segkit.data.dataset import Dataset
from segkit.data.files.flat_index import LazySequence
from segkit.files import DataError
from segkit.registry import DATASETS
from segkit.types import Sample


class Ids(LazySequence[str]):
    """The ids of several data sets' items, "number of the set:id".

    Args:
        datasets: the sets, in order, at least one.
    """

    def __init__(self, datasets: Sequence[Dataset]):
        self._ids = [dataset.ids for dataset in datasets]
        self._ends = np.cumsum([len(ids) for ids in self._ids])

    def __len__(self) -> int:
        return int(self._ends[-1])

    def locate(self, index: int) -> tuple[int, int]:
        """Finds an item.

        Args:
            index: position among the items of all sets, negative from the end.

        Returns:
            The number of the set that holds the item, and the item's index in that set.
        """
        index = range(len(self))[index]
        number = int(np.searchsorted(self._ends, index, side="right"))
        return number, index - int(self._ends[number] - len(self._ids[number]))

    def item(self, index: int) -> str:
        """Reads an id."""
        number, inner = self.locate(index)
        return f"{number}:{self._ids[number][inner]}"


@DATASETS.register
class Concat(Dataset):
    """Several data sets of equal classes, one after the other.

    In a config: dict(type="Concat", datasets=[dict(type=...), ...]). Ids begin with the number of the set, "0:name",
    because two sets may have items of the same name.

    Args:
        datasets: the sets, at least one, each with at least one item.

    Raises:
        DataError: where a set is empty, or has other classes or another ignored label than the first.
    """

    parts = {"datasets": DATASETS}

    def __init__(self, datasets: Sequence[Dataset]):
        if not datasets:
            raise DataError(f"{type(self).__name__}: no data set in datasets; name at least one")
        first = datasets[0]
        for number, other in enumerate(datasets):
            if len(other) == 0:
                raise DataError(f"datasets[{number}]: {type(other).__name__} holds no item; check root and split")
            if tuple(other.classes) != tuple(first.classes):
                raise DataError(
                    f"datasets[{number}]: {type(other).__name__} has classes {', '.join(other.classes[:4])} ... and "
                    f"{type(first).__name__} {', '.join(first.classes[:4])} ...; only equal classes can be joined"
                )
            if other.ignore != first.ignore:
                raise DataError(
                    f"datasets[{number}]: {type(other).__name__} ignores label {other.ignore} and datasets[0] label "
                    f"{first.ignore}; only sets that ignore the same label can be joined"
                )
        self.datasets = list(datasets)
        self.classes, self.palette, self.ignore = first.classes, first.palette, first.ignore
        if all(dataset.things == first.things for dataset in datasets):
            self.things = first.things
        self.exif = all(dataset.exif for dataset in datasets)
        self.notes = tuple(note for dataset in datasets for note in dataset.notes)
        self.facts = tuple(fact for dataset in datasets for fact in dataset.facts)
        shown = [dataset.shown for dataset in datasets if dataset.shown is not None]
        if len(shown) == len(datasets):
            self.shown = sorted({label for labels in shown for label in labels})
        sizes = [dataset.sizes for dataset in datasets if dataset.sizes is not None]
        if len(sizes) == len(datasets):
            self.sizes = np.concatenate(sizes)
        blocks = [dataset.blocks for dataset in datasets if dataset.blocks is not None]
        if len(blocks) == len(datasets):
            starts = np.cumsum([0, *map(len, datasets)])
            inner = [start + block[:-1] for start, block in zip(starts, blocks)]
            self.blocks = np.concatenate([*inner, starts[-1:]])
        self.ids: Ids = Ids(self.datasets)

    def read_ahead(self, indices: Sequence[int]) -> None:
        for number, dataset in enumerate(self.datasets):
            places = map(self.ids.locate, indices)
            dataset.read_ahead([inner for other, inner in places if other == number])

    def _locate(self, index: int) -> tuple[Dataset, int]:
        """The set that holds the item, and the item's index in it."""
        number, inner = self.ids.locate(index)
        return self.datasets[number], inner

    def path(self, index: int) -> str:
        dataset, inner = self._locate(index)
        return dataset.path(inner)

    def content(self, index: int) -> bytes | None:
        """Reads the bytes of an image's file from the set that holds it, see Dataset."""
        dataset, inner = self._locate(index)
        return dataset.content(inner)

    def mask_path(self, index: int) -> str:
        dataset, inner = self._locate(index)
        return dataset.mask_path(inner)

    def has_mask(self, index: int) -> bool:
        dataset, inner = self._locate(index)
        return dataset.has_mask(inner)

    def image(self, index: int) -> np.ndarray:
        """Returns the image of the set that holds the item."""
        dataset, inner = self._locate(index)
        return dataset.image(inner)

    def mask(self, index: int) -> np.ndarray:
        """Returns the label map of the set that holds the item."""
        dataset, inner = self._locate(index)
        return dataset.mask(inner)

    def sample(self, index: int, rng: np.random.Generator) -> Sample:
        """Returns the sample of the set that holds the item, with the id "number of the set:id"."""
        dataset, inner = self._locate(index)
        sample = dataset.sample(inner, rng)
        return Sample({**sample, "meta": {**sample["meta"], "id": self.ids[index]}})


@DATASETS.register
class Mixed(Concat):
    """A training mixture: each sample comes from a randomly drawn data set and is a uniformly drawn item of it.

    The index only counts, it chooses nothing: an epoch is as long as all sets together. `image` and `mask` by index are
    those of Concat.

    Args:
        datasets: as for Concat.
        ratios: one positive number per set, of any sum: the proportions in which the sets are drawn.

    Raises:
        DataError: as Concat, and where `ratios` is not one positive number per set.
    """

    parts = {"datasets": DATASETS}

    def __init__(self, datasets: Sequence[Dataset], ratios: Sequence[PositiveFloat]):
        super().__init__(datasets)
        shares = np.asarray(ratios, np.float64)
        if shares.shape != (len(self.datasets),) or not (np.isfinite(shares) & (shares > 0)).all():
            raise DataError(f"ratios = {list(ratios)}: give one positive number for each of {len(self.datasets)} sets")
        self.ratios = shares / shares.sum()
        self.sizes = self.blocks = None  # an index is no image here

    def sample(self, index: int, rng: np.random.Generator) -> Sample:
        """Returns the sample of a random item.

        Args:
            index: not used.
            rng: draws the set, then the item, then what the set itself leaves to chance.
        """
        number = int(rng.choice(len(self.datasets), p=self.ratios))
        inner = int(rng.integers(len(self.datasets[number])))
        before = sum(len(dataset) for dataset in self.datasets[:number])
        return super().sample(before + inner, rng)
