"""Which items of a data set go to which part of a split, and what is to be said of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from segkit.data.dataset import Dataset
from segkit.data.files.pairs import some
from segkit.data.splits.dealing import deal
from segkit.data.splits.grouping import as_numbers, group_names
from segkit.data.statistics import class_statistics
from segkit.files import DataError


@dataclass(frozen=True)
class Assignment:
    """The parts of a data set of n items.

    Attributes:
        names: of the P parts.
        parts: int64 [n], the part of each item.
        num_groups: groups in all.
        notes: what a user should know: classes that a part lacks.
    """

    names: tuple[str, ...]
    parts: np.ndarray
    num_groups: int
    notes: tuple[str, ...]

    def items(self, part: int) -> np.ndarray:
        """Returns the indices of a part's items, in the order of the data set."""
        return np.flatnonzero(self.parts == part)


def assign(
    dataset: Dataset,
    shares: Sequence[float],
    names: Sequence[str],
    *,
    by: str | None,
    stratify: bool,
    seed: int,
    at: str,
) -> Assignment:
    """Deals the items of a data set to parts, whatever order the data set lists them in.

    Args:
        dataset: any data set.
        shares: one for each part, of sum 1.
        names: of the parts.
        by: what belongs together, see group_names; items of one image always do.
        stratify: whether classes are to occur in every part, where the set knows its classes.
        seed: of the choice.
        at: name of the data set that splits, for errors.

    Raises:
        DataError: there are fewer groups than parts, or `by` does not fit.
    """
    groups = as_numbers(group_names(dataset, by, f"{at}.by"))
    num_groups = int(groups.max(initial=-1)) + 1
    if num_groups < len(names):
        what = "images" if by is None else f"groups by '{by}'"
        raise DataError(
            f"{at}: {num_groups} {what} for {len(names)} parts ({', '.join(names)}); a group goes whole to one part: "
            f"take {num_groups} parts at most, or a rule that makes more groups"
        )
    present = classes_of_items(dataset) if stratify else None
    order = np.array(sorted(range(len(dataset)), key=lambda index: str(dataset.ids[index])))
    parts = np.empty(len(order), np.int64)
    sorted_classes = None if present is None else [present[index] for index in order]
    parts[order] = deal(shares, groups[order], sorted_classes, num_classes=len(dataset.classes), seed=seed)
    notes = () if present is None else _gaps(dataset, present, parts, names)
    return Assignment(tuple(names), parts, num_groups, notes)


def classes_of_items(dataset: Dataset) -> list[np.ndarray] | None:
    """Finds the classes of each item, from annotations or from the masks, which are counted once and remembered.

    Args:
        dataset: any data set.

    Returns:
        The labels that each item holds; None for sets of clicks, whose classes are object and background.
    """
    if dataset.ignore < 0:
        return None
    if hasattr(type(dataset), "annotations"):
        try:
            truth: dict[str, list[dict[str, Any]]] = getattr(dataset, "annotations")  # noqa: B009
        except DataError:
            truth = {}  # a part of a set without annotations
        if truth:
            labels = {category["id"]: label for label, category in enumerate(truth["categories"])}
            found: dict[str, set[int]] = {str(name): set() for name in dataset.ids}
            for entry in truth["annotations"]:
                if str(entry["image_id"]) in found and entry["category_id"] in labels:
                    found[str(entry["image_id"])].add(labels[entry["category_id"]])
            return [np.array(sorted(found[str(name)]), np.int64) for name in dataset.ids]
    if type(dataset).mask is Dataset.mask:
        return None
    return class_statistics(dataset).present


def _gaps(dataset: Dataset, present: Sequence[np.ndarray], parts: np.ndarray, names: Sequence[str]) -> tuple[str, ...]:
    """Sentences on classes that occur once only, or not in every part."""
    held = np.zeros((len(names), len(dataset.classes)), np.int64)
    for part, classes in zip(parts, present):
        held[part, classes] += 1
    notes = []
    for label in np.flatnonzero(held.sum(0) == 1):
        index = next(index for index, classes in enumerate(present) if label in classes)
        part = names[int(parts[index])]
        notes.append(
            f"class '{dataset.classes[label]}' occurs in one image only ({dataset.path(index)}), which is in '{part}': "
            "it cannot be both trained and scored"
        )
    for number, name in enumerate(names):
        lacking = [dataset.classes[label] for label in np.flatnonzero((held[number] == 0) & (held.sum(0) > 1))]
        if lacking:
            notes.append(f"part '{name}' has no image with {some(lacking)}: too few images or groups hold them")
    return tuple(notes)
