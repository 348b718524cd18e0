"""A config from data and recipe: built once to see that it can be trained, and written without what its base has."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from segkit.config import Config, load_config
from segkit.data.dataset import Dataset
from segkit.data.splits.image_hash import LookBook
from segkit.data.splits.near_duplicates import quick_search
from segkit.engine.setup import DataSets
from segkit.files import DataError
from segkit.recipe.choice import Choice
from segkit.recipe.choices import choose
from segkit.recipe.configured import DATASET
from segkit.recipe.facts import DataFacts, measure
from segkit.recipe.layout import BASES, BOXES, Data
from segkit.recipe.machine import Budget
from segkit.recipe.trial import try_out
from segkit.recipe.write import config_text
from segkit.schema import check


@dataclass(frozen=True)
class Composed:
    """A config that can be trained.

    Attributes:
        choices: all that was chosen, each with its reason.
        text: of the config; choices that its base has made already are left out.
        facts: of the data.
        notes: sentences on what a person should look at.
    """

    choices: list[Choice]
    text: str
    facts: DataFacts
    notes: list[str]


def compose(data: Data, budget: Budget, name: str, *, tries: bool = True, find_lr: bool = False) -> Composed:
    """Chooses a recipe for data, and writes the config.

    Args:
        data: how the data is read.
        budget: time and machine.
        name: of the config's file.
        tries: whether some steps are trained, so that batch and number of steps fit the machine; else estimated.
        find_lr: whether a range test finds the learning rate, which needs tries.

    Raises:
        ConfigError: the data sets cannot be built, or the time holds too few steps.
        DataError: a label cannot be read, or the data holds too little.
    """
    datasets = DataSets()
    built = parts_of(data, name, datasets)
    facts = replace(measure(data.task, built), channels=data.channels, has_masks=data.has_masks)
    choices = _all(data, choose(facts, budget))
    if tries:
        cfg = loaded(config_text(data.title, choices), name)
        check(cfg)
        measured = try_out(cfg, budget, find_lr=find_lr, datasets=datasets)
        choices = _all(data, choose(facts, budget, measured))
    own = {choice.key for choice in data.choices}
    rest = [choice for choice in choices if choice.key != "base" and choice.key not in own]
    kept = list(choices)
    whole = loaded(config_text(data.title, kept), name)
    check(whole)
    for choice in rest:
        fewer = [other for other in kept if other is not choice]
        if dict(loaded(config_text(data.title, fewer), name)) == dict(whole):
            kept = fewer
    return Composed(choices, config_text(data.title, kept), facts, alike(built["train"], built["val"], name))


def _all(data: Data, recipe: Sequence[Choice]) -> list[Choice]:
    """The choices of a config: base, data, and the recipe's values that the data leaves open."""
    own = {choice.key for choice in data.choices}
    base = [choice for choice in recipe if choice.key == "base"]
    rest = [choice for choice in recipe if choice.key not in {"base", *own} and not choice.key.startswith(DATASET)]
    return [*base, *data.choices, *rest]


def parts_of(data: Data, name: str, datasets: DataSets) -> dict[str, Dataset]:
    """Builds the data sets of train and val; see compose for the errors."""
    base = BOXES if data.task == "instances" and not data.has_masks else BASES[data.task]
    rows = [Choice("base", base, ""), *data.choices]
    cfg = loaded(config_text(data.title, rows), name)
    check(cfg, needed=())
    return {part: datasets.get(cfg[part]["dataset"], f"{part}.dataset") for part in ("train", "val")}


def alike(train: Dataset, val: Dataset, name: str) -> list[str]:
    """Returns a sentence on validation images that nearly are training images, [] where a quick look finds none."""
    with tempfile.TemporaryDirectory(prefix="segkit-") as folder:
        try:
            pairs, looked = quick_search(train, val, LookBook(Path(folder)))
        except (DataError, OSError):
            return []  # the check before the training names images that cannot be read
    if not pairs:
        return []
    count, first = len({pair.second for pair in pairs}), pairs[0]
    return [
        f"{count} of {looked} validation images looked at are like training images ({Path(first.second).name} like "
        f"{Path(first.first).name}), and score too high; see segkit analyze duplicates {name}"
    ]


def loaded(text: str, name: str) -> Config:
    """Returns the sections of a config's text."""
    with tempfile.TemporaryDirectory(prefix="segkit-") as folder:
        file = Path(folder) / name
        file.write_text(text, encoding="utf-8")
        return load_config(file)
