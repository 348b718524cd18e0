"""The images of a data set that hold an object, for the second model of a two-model recipe."""

from collections.abc import Sequence

from segkit.constraints.named import PositiveInt
from segkit.data.dataset import Dataset
from segkit.data.files.mask_scan import scan
from segkit.data.splits.subset import Subset
from segkit.data.statistics import CountClasses
from segkit.files import DataError
from segkit.registry import DATASETS, did_you_mean


@DATASETS.register
class Positives(Subset):
    """The images of another data set with labels of certain classes.

    A model that is trained on these alone never sees an empty image; whether there is something to find is then another
    model's to say (refiner ClassGate). In a config: dict(type="Positives", dataset=dict(type=...)).

    Args:
        dataset: the whole data set. Its masks are counted once and remembered, see docs/class_balance.md.
        objects: names or numbers of the classes of which an image shall hold one; None for all but class 0.
        min_pixels: an image holds a class from so many pixels on.

    Raises:
        DataError: there is no such class, or no image holds one.
    """

    parts = {"dataset": DATASETS}

    def __init__(self, dataset: Dataset, objects: list[str | int] | None = None, *, min_pixels: PositiveInt = 1):
        names = list(dataset.classes)
        wanted = range(1, len(names)) if objects is None else [_number(name, names) for name in objects]
        counts = scan(dataset, CountClasses(len(names), dataset.ignore), "classes")
        kept = [
            index
            for index, row in enumerate(counts)
            if row and any(k in wanted and count >= min_pixels for k, count in zip(row[0], row[1]))
        ]
        if not kept:
            shown = ", ".join(names[k] for k in list(wanted)[:4])
            raise DataError(f"Positives: none of {len(dataset)} images holds {min_pixels} pixels of {shown}")
        super().__init__(dataset, kept)
        self.facts = (*dataset.facts, f"{len(kept)} of {len(dataset)} images hold an object")


def _number(name: str | int, names: Sequence[str]) -> int:
    if isinstance(name, int) and 0 <= name < len(names):
        return name
    if isinstance(name, str) and name in names:
        return names.index(name)
    hint = did_you_mean(str(name), names) or f"; available: {', '.join(names)}"
    raise DataError(f"Positives.objects: no class {name!r}{hint}")
