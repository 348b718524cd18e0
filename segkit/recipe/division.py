"""How the images of a data set are divided: by the data's own splits, else by shares, whole scenes together."""

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from segkit.data.formats.base import LabelReader
from segkit.data.formats.chosen import chosen_items
from segkit.files import DataError
from segkit.recipe.choice import Choice

FEW, LEAST = 10, 2
"""Labelled images below which a note says that scores mean little, and below which nothing can be divided."""

SCENES = (
    (r"^(.*)#\d+$", "slices of one volume"),
    (r"^(.*)\.rf\.[0-9a-zA-Z]+$", "copies of one image that Roboflow changed"),
    (r"^(.*?)[ _.-]*\d+$", "the name before the last number"),
)
"""Regular expressions on ids by which images of one scene are told, and what it is."""

LEAST_GROUPS = 5
"""Scenes from which on images are divided by them."""


class Division(NamedTuple):
    """The division of a data set.

    Attributes:
        choices: keys of the config.
        items: of the reader, those that train and val hold.
        test: name of the split that is scored in the end, None where there is none.
        notes: sentences.
    """

    choices: list[Choice]
    items: list[int]
    test: str | None
    notes: list[str]


def division_of(reader: LabelReader, root: str, is_labelled: Sequence[bool]) -> Division:
    """Chooses the images that are trained on and scored.

    Args:
        reader: of the data set.
        root: of the labels, for errors.
        is_labelled: of each image of the reader.

    Raises:
        DataError: there are too few labelled images.
    """
    labelled = {name: [item for item in items if is_labelled[item]] for name, items in reader.splits.items() if items}
    test = "test" if labelled.get("test") else None
    if labelled.get("train") and labelled.get("val"):
        counts = ", ".join(f"{name} {len(items)}" for name, items in labelled.items() if items)
        reason = f"the data names them: {counts}"
        choices = [Choice("train_split", "train", reason), Choice("val_split", "val", "")]
        return Division(choices, [*labelled["train"], *labelled["val"]], test, _few(len(labelled["train"])))
    whole = next((name for name in ("train", "trainval") if labelled.get(name)), None)
    choices = []
    if whole is None:
        items, test = [item for item in range(len(reader)) if is_labelled[item]], None
        why = f"the data names no splits: {len(items)} images are dealt"
    else:
        items = labelled[whole]
        why = f"the data has no val: {len(items)} images of {whole} are dealt"
        choices.append(Choice("of", whole, f"the split that is dealt; the data names {', '.join(reader.splits)}"))
    if len(items) < LEAST:
        raise DataError(
            f"{root}: {len(items)} labelled image{'s' * (len(items) != 1)}; training and scoring need {LEAST} at "
            f"least, and {FEW} for scores that say something; label more"
        )
    names = _names(reader, whole, root, set(items))
    groups = groups_of(names, [str(reader.images[item]) for item in items])
    share = 0.8 if len(items) >= FEW else round(1 - (1 if len(items) < 5 else 2) / len(items), 2)
    ratios = (share, round(1 - share, 2))
    choices.append(Choice("ratios", ratios, f"{why}, rare classes to both sides"))
    if groups is not None:
        choices.append(groups)
    return Division(choices, items, test, _few(len(items)))


def _few(count: int) -> list[str]:
    return [f"{count} labelled images: scores on so few say little; label {FEW} or more"] if count < FEW else []


def _names(reader: LabelReader, split: str | None, root: str, kept: set[int]) -> list[str]:
    """The ids that a data set gives the items."""
    return [name for item, name in zip(*chosen_items(reader, split, root)) if item in kept]


def groups_of(names: Sequence[str], paths: Sequence[str]) -> Choice | None:
    """Finds out which images are of one scene, by the ends of their names or by their folders.

    Args:
        names: ids of the images.
        paths: of their files.

    Returns:
        The key `by`; None where the images seem to be of scenes of their own.
    """
    for pattern, what in SCENES:
        found = [re.search(pattern, name) for name in names]
        matches = [match for match in found if match is not None]
        if len(matches) == len(names) and _are_scenes(Counter(match[1] for match in matches)):
            count = len({match[1] for match in matches})
            return Choice("by", pattern, f"{count} scenes by {what}: none on both sides")
    folders = Counter(str(Path(path).parent) for path in paths)
    if _are_scenes(folders):
        return Choice("by", "folder", f"{len(folders)} folders of images: none on both sides")
    return None


def _are_scenes(groups: Counter[str]) -> bool:
    return len(groups) >= LEAST_GROUPS and groups.total() >= 2 * len(groups) and "" not in groups
