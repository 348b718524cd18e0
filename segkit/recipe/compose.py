"""A config from data and recipe: built once to see that it can be trained, and written without what its base has."""

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from segkit.config import Config, load_config
from segkit.engine.setup import DataSets
from segkit.recipe.choice import Choice
from segkit.recipe.choices import choose
from segkit.recipe.configured import DATASET
from segkit.recipe.facts import DataFacts, measure
from segkit.recipe.layout import BASES, Data
from segkit.recipe.machine import Budget
from segkit.recipe.write import config_text
from segkit.schema import check


@dataclass(frozen=True)
class Composed:
    """A config that can be trained.

    Attributes:
        choices: all that was chosen, each with its reason.
        text: of the config; choices that its base has made already are left out.
        facts: of the data.
    """

    choices: list[Choice]
    text: str
    facts: DataFacts


def compose(data: Data, budget: Budget, name: str) -> Composed:
    """Chooses a recipe for data, and writes the config.

    Args:
        data: how the data is read.
        budget: time and machine.
        name: of the config's file.

    Raises:
        ConfigError: the data sets cannot be built, or the time holds too few steps.
        DataError: a label cannot be read, or the data holds too little.
    """
    facts = facts_of(data, name)
    recipe = [choice for choice in choose(facts, budget) if not choice.key.startswith(DATASET)]
    own = {choice.key for choice in data.choices}
    base = [choice for choice in recipe if choice.key == "base"]
    rest = [choice for choice in recipe if choice.key != "base" and choice.key not in own]
    choices = [*base, *data.choices, *rest]
    kept = list(choices)
    whole = loaded(config_text(data.title, kept), name)
    check(whole)
    for choice in rest:
        fewer = [other for other in kept if other is not choice]
        if dict(loaded(config_text(data.title, fewer), name)) == dict(whole):
            kept = fewer
    return Composed(choices, config_text(data.title, kept), facts)


def facts_of(data: Data, name: str) -> DataFacts:
    """Builds the data sets of train and val, and measures them; see compose for the errors."""
    rows = [Choice("base", BASES[data.task], ""), *data.choices]
    cfg = loaded(config_text(data.title, rows), name)
    check(cfg, needed=())
    datasets = DataSets()
    built = {part: datasets.get(cfg[part]["dataset"], f"{part}.dataset") for part in ("train", "val")}
    return replace(measure(data.task, built), channels=data.channels, has_masks=data.has_masks)


def loaded(text: str, name: str) -> Config:
    """Returns the sections of a config's text."""
    with tempfile.TemporaryDirectory(prefix="segkit-") as folder:
        file = Path(folder) / name
        file.write_text(text, encoding="utf-8")
        return load_config(file)
