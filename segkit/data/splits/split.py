"""A part of a data set: by shares, by folds, at random, or by a list."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, TypeAlias

import numpy as np

from segkit.constraints.named import NonNegativeInt, OneOf, PositiveFloat, Range
from segkit.data.dataset import Dataset
from segkit.data.files.name_list import Finder, find_entries, read_lines
from segkit.data.splits.assignment import Assignment, assign
from segkit.data.splits.dealing import check_shares
from segkit.data.splits.subset import Subset
from segkit.files import DataError
from segkit.registry import DATASETS

PARTS = ("train", "val", "test")
"""Names of the parts, in the order of their shares."""

PositiveShare: TypeAlias = Annotated[float, Range(0, 1, above=True, below=True)]
"""A share that leaves something on both sides."""


def _followed(dataset: Dataset, like: Dataset | None, found: Assignment, number: int, at: str) -> list[int]:
    """Items of a part; with `like`, whose items were dealt, those whose images are in that part."""
    if like is None:
        return [int(index) for index in found.items(number)]
    part_of = {like.path(index): int(part) for index, part in enumerate(found.parts)}
    paths = [dataset.path(index) for index in range(len(dataset))]
    strange = next((path for path in paths if path not in part_of), None)
    if strange is not None:
        raise DataError(
            f"{at}.like: {type(like).__name__} lacks the image {strange} of {type(dataset).__name__}; name a set of "
            "the same root that leaves no image out"
        )
    return [index for index, path in enumerate(paths) if part_of[path] == number]


@DATASETS.register
class Split(Subset):
    """The train, val or test part of a data set of any task, by shares.

    In a config: train.dataset = dict(type="Split", dataset=dict(type=...), part="train"), and the same with part="val"
    in section `val`. The parts depend on the ids of the images and the seed, not on their order.

    Args:
        dataset: the whole set.
        part: "train", "val" or "test".
        ratios: shares of train, val and test, of sum 1; two numbers give no test part.
        by: what stays together: "folder", "folder:2", "table.csv:column", "time:60" (seconds between two scenes) or a
            regular expression on the id; None for single images.
        stratify: deals images out so that rare classes occur in every part where they can; masks are read once and
            remembered, those of clicks never.
        seed: of the choice.
        like: the set whose images are dealt, those of `dataset` following by their paths; None for `dataset` itself.
            Sets that leave out images of their own, as those of clicks do, then have the same parts.

    Raises:
        DataError: the ratios, `by` or `like` do not fit, or there are fewer groups than parts.
    """

    parts = {"dataset": DATASETS, "like": DATASETS}

    def __init__(
        self,
        dataset: Dataset,
        part: Annotated[str, OneOf(PARTS)] = "train",
        ratios: Sequence[PositiveFloat] = (0.8, 0.1, 0.1),
        *,
        by: str | None = None,
        stratify: bool = True,
        seed: NonNegativeInt = 0,
        like: Dataset | None = None,
    ):
        names = PARTS[:2] if len(ratios) == 2 else PARTS
        check_shares(ratios, names, "Split.ratios")
        if part not in names:
            raise DataError(f"Split.part = '{part}': ratios = {list(ratios)} give the parts {', '.join(names)}")
        whole = dataset if like is None else like
        found = assign(whole, ratios, names, by=by, stratify=stratify, seed=seed, at="Split")
        number = names.index(part)
        super().__init__(dataset, _followed(dataset, like, found, number, "Split"))
        groups = "" if by is None else f", {found.num_groups} groups by '{by}'"
        self.part, self.ratios, self.by, self.stratify, self.seed = part, tuple(ratios), by, stratify, seed
        self.facts = (*self.facts, f"{part}: {len(self):,} of {len(dataset):,} images{groups}, seed {seed}")
        self.notes += found.notes if number == 0 else ()


@DATASETS.register
class Fold(Subset):
    """All images of a data set but those of one fold, to train on; or that fold alone, to score or to label.

    The images, in the order of their ids, are dealt out to the folds by a permutation of the seed; the sizes of folds
    differ by one at most. Fold 0 of 8 alone is a fixed eighth of the labels, and the other seven are the rest. With
    `by`, groups stay whole and sizes differ by their largest at most.

    Args:
        dataset: the whole data set.
        folds: number of folds, 2 or more.
        fold: which one, from 0.
        only: whether the items are those of the fold, and not all the others.
        seed: of the permutation.
        by: what stays together, as for Split; None for single images.
        stratify, like: as for Split.

    Raises:
        DataError: there is no such fold, or it would be empty.
    """

    parts = {"dataset": DATASETS, "like": DATASETS}

    def __init__(
        self,
        dataset: Dataset,
        folds: Annotated[int, Range(2)] = 5,
        fold: NonNegativeInt = 0,
        *,
        only: bool = False,
        seed: NonNegativeInt = 0,
        by: str | None = None,
        stratify: bool = False,
        like: Dataset | None = None,
    ):
        whole = dataset if like is None else like
        if not 2 <= folds <= len(whole):
            raise DataError(
                f"Fold.folds = {folds}: must lie between 2 and {len(whole)}, the number of images of "
                f"{type(whole).__name__}"
            )
        if not 0 <= fold < folds:
            raise DataError(f"Fold.fold = {fold}: the folds are 0 to {folds - 1}")
        self.folds, self.fold, self.only, self.seed, self.by, self.stratify = folds, fold, only, seed, by, stratify
        notes: tuple[str, ...] = ()
        if by is None and not stratify and like is None:
            order = sorted(range(len(dataset)), key=lambda index: str(dataset.ids[index]))
            dealt = np.random.default_rng(seed).permutation(len(order))
            chosen = {order[place] for place in dealt[fold::folds]}
        else:
            names = [f"fold {number}" for number in range(folds)]
            found = assign(whole, [1 / folds] * folds, names, by=by, stratify=stratify, seed=seed, at="Fold")
            chosen, notes = set(_followed(dataset, like, found, fold, "Fold")), found.notes
        super().__init__(dataset, [index for index in range(len(dataset)) if (index in chosen) is only])
        self.notes += () if only else notes


@DATASETS.register
class Part(Subset):
    """A random share of the images of a data set, or those that this share leaves out.

    In a config: dict(type="Part", dataset=dict(type=...), share=0.5). The same share and seed with rest=True gives the
    other images, so that two trainings see images of their own.

    Args:
        dataset: the whole set.
        share: of its images, rounded, one at least.
        rest: takes the images that the share leaves out.
        seed: of the choice.

    Raises:
        DataError: there are too few images for two parts.
    """

    parts = {"dataset": DATASETS}

    def __init__(
        self,
        dataset: Dataset,
        share: PositiveShare,
        *,
        rest: bool = False,
        seed: NonNegativeInt = 0,
    ):
        count = len(dataset)
        if count < 2:
            raise DataError(f"{type(self).__name__}: {type(dataset).__name__} has {count} images; two parts need 2")
        order = np.random.default_rng([seed, count]).permutation(count)
        first = min(max(round(share * count), 1), count - 1)
        super().__init__(dataset, np.sort(order[first:] if rest else order[:first]))
        self.facts = (*self.facts, f"{len(self):,} of {count:,} images, chosen at random")


@DATASETS.register
class Listed(Subset):
    """The items of a data set that a list names, in its order, as `segkit prepare splits` writes them.

    Args:
        dataset: the whole set, of any task.
        file: a text file with an id, or the path of an image, on each line; see docs/data.md for its forms. A path of
            an image with several items takes all of them.

    Raises:
        DataError: the list cannot be read, or a line names no image of the set, or could name several.
    """

    parts = {"dataset": DATASETS}

    def __init__(self, dataset: Dataset, file: str):
        self.file = file
        items: dict[str, list[int]] = {}
        ids = {str(name): index for index, name in enumerate(dataset.ids)}
        for index in range(len(dataset)):
            items.setdefault(dataset.path(index), []).append(index)
        of_id, of_path = Finder(ids), Finder(items)
        lines, path = read_lines(Path(file).expanduser(), "Listed.file names a list of images"), file
        by_id = [bool(of_id.exact(line.text)) for line in lines]
        finder = of_id if all(by_id) else of_path
        entries = find_entries(lines, finder, path, type(dataset).__name__)
        kept = [[ids[entry.image]] if finder is of_id else items[entry.image] for entry in entries]
        super().__init__(dataset, list(dict.fromkeys(index for found in kept for index in found)))
