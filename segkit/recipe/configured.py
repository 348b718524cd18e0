"""The sections that choices and data sets make, for trying them out before a config file is written."""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from segkit.config import Config, load_config
from segkit.recipe.choice import Choice
from segkit.schema import check

DATASET = "dataset."
"""Beginning of the keys that are arguments of the data sets of all sections."""


def nested(choices: Sequence[Choice], datasets: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Returns the choices as nested dicts, with the data sets in their sections; the base is left out.

    Args:
        choices: of `choose`.
        datasets: dict(type=..., arguments) by section, "train", "val", "test".
    """
    values: dict[str, Any] = {}
    for section, dataset in datasets.items():
        # the bases share images out, which data sets that are given do themselves
        values[section] = {"dataset": {"split": None, **dataset}}
        for choice in choices:
            if choice.key.startswith(DATASET):
                values[section]["dataset"][choice.key.removeprefix(DATASET)] = choice.value
    for choice in choices:
        if choice.key == "base" or choice.key.startswith(DATASET):
            continue
        *parents, last = choice.key.split(".")
        node = values
        for name in parents:
            node = node.setdefault(name, {})
        node[last] = choice.value
    if "val" not in datasets:  # a base has one
        values["val"] = None
    return values


def configured(choices: Sequence[Choice], datasets: Mapping[str, Mapping[str, Any]]) -> Config:
    """Returns the checked sections that a config of these choices has.

    Args:
        choices: of `choose`.
        datasets: dict(type=..., arguments) by section.

    Raises:
        ConfigError: the sections do not fit each other.
    """
    base = next(choice.value for choice in choices if choice.key == "base")
    lines = ["from segkit.config import ref", f"_base_ = {base!r}"]
    values = nested(choices, datasets)
    lines += [f"{name} = {value!r}" for name, value in values.items()]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "recipe.py"
        file.write_text("\n".join(lines) + "\n", encoding="utf-8")
        cfg = load_config(file)
    for section in datasets:  # whole, without the arguments of the base's own
        given = values[section]["dataset"].items()
        cfg[section]["dataset"] = {key: value for key, value in given if (key, value) != ("split", None)}
    check(cfg)
    return cfg
