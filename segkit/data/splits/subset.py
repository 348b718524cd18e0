"""The base class of data sets that hold some of the items of another one."""

from collections.abc import Sequence
from typing import Any, Protocol, cast, runtime_checkable

import numpy as np

from segkit.data.dataset import Dataset
from segkit.files import DataError
from segkit.types import Sample


@runtime_checkable
class _Packing(Protocol):
    """A training set for clicks, whose objects lie in layers."""

    def packed(self, index: int, rng: np.random.Generator) -> Any: ...


class _Annotated(Protocol):
    """A set of instances."""

    annotations: dict[str, list[dict]]


class Subset(Dataset):
    """Some items of another data set, of any task: everything is read from that set.

    A subclass passes the items that it keeps.

    Args:
        dataset: the whole set.
        kept: indices of the items, in the order that the subset shall have.

    Raises:
        DataError: no item is kept.
    """

    def __init__(self, dataset: Dataset, kept: Sequence[int] | np.ndarray):
        if not len(kept):
            raise DataError(f"{type(self).__name__}: no image of {type(dataset).__name__} is left")
        self.dataset, self.kept = dataset, [int(index) for index in kept]
        self.classes, self.palette, self.ignore = dataset.classes, dataset.palette, dataset.ignore
        self.shown = dataset.shown
        self.read_like(dataset)
        self.notes, self.facts = dataset.notes, dataset.facts
        self.sizes = None if dataset.sizes is None else dataset.sizes[self.kept]
        if dataset.blocks is not None and np.all(np.diff(self.kept) > 0):
            self.blocks = np.searchsorted(self.kept, dataset.blocks)
        self.ids = [dataset.ids[index] for index in self.kept]

    def read_ahead(self, indices: Sequence[int]) -> None:
        self.dataset.read_ahead([self.kept[index] for index in indices])

    def path(self, index: int) -> str:
        return self.dataset.path(self.kept[index])

    def content(self, index: int) -> bytes | None:
        """Reads the bytes of an image's file from the whole set, see Dataset."""
        return self.dataset.content(self.kept[index])

    def mask_path(self, index: int) -> str:
        return self.dataset.mask_path(self.kept[index])

    def has_mask(self, index: int) -> bool:
        return self.dataset.has_mask(self.kept[index])

    def image(self, index: int) -> np.ndarray:
        """Reads an image of the whole set."""
        return self.dataset.image(self.kept[index])

    def mask(self, index: int) -> np.ndarray:
        """Reads a label map of the whole set."""
        return self.dataset.mask(self.kept[index])

    def sample(self, index: int, rng: np.random.Generator) -> Sample:
        """Reads a sample of the whole set."""
        return self.dataset.sample(self.kept[index], rng)

    def packed(self, index: int, rng: np.random.Generator) -> Any:
        """Reads the objects of an image of a training set for clicks.

        Raises:
            DataError: the whole set is none.
        """
        if not isinstance(self.dataset, _Packing):
            raise DataError(f"{type(self.dataset).__name__} has no objects to click on; give a training set for clicks")
        return self.dataset.packed(self.kept[index], rng)

    @property
    def annotations(self) -> dict[str, list[dict]]:
        """Ground truth of these images in COCO's format, where the whole set has one.

        Raises:
            DataError: the whole set has none.
        """
        # asked of the type, since reading them may take long or fail for a reason of its own
        if not hasattr(type(self.dataset), "annotations"):
            raise DataError(
                f"{type(self.dataset).__name__} has no annotations in COCO form; metrics of instances need a set of "
                "instances, such as COCOInstances"
            )
        truth, names = cast(_Annotated, self.dataset).annotations, set(map(str, self.ids))
        return {
            **truth,
            "images": [image for image in truth["images"] if str(image["id"]) in names],
            "annotations": [entry for entry in truth["annotations"] if str(entry["image_id"]) in names],
        }
