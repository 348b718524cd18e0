"""The page on base configs: what each file of configs/_base_ sets, so that one is chosen without opening it."""

import ast
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from segkit.config import SECTIONS, Config, load_config
from segkit.registry import LOSSES
from website.docstrings import cell, markdown
from website.pages import ROOT, Site, relative

PAGE = "reference/bases.md"
BASES = ROOT / "configs" / "_base_"

INTRODUCTION = """# Base configs

Files that a config builds on: `_base_ = ["segkit:_base_/models/fcn_r50.py", "segkit:_base_/datasets/voc.py",
"segkit:_base_/schedules/sgd_40k.py"]` takes one of each folder, and what the config itself says wins
([config files](../config.md)). `segkit config FILE` prints what a config resolves to. The models are in the
[model zoo](../model_zoo.md), with parameters and papers."""

SCHEDULES = """## Schedules

Optimizer, learning rate, its course and the length of the training. A rate, a length or any other value is set over a
base as `optimizer.lr=1e-4`, `loop.steps=5000`. Where a row of `optimizer.groups` has
a factor, some parameters learn at that many times the rate here."""

DATASETS = """## Data sets

Sections `train`, `val` and often `test`: the files, the transforms and the batch. The names in the last column are
set by the config over it, such as `root = "my_images"`."""

STEPS = """## Class steps

What a method of [class steps](../incremental.md) adds to a model, a data set and a schedule: losses, runner, growth."""


def add_bases(site: Site) -> None:
    """Writes the page."""
    parts = [INTRODUCTION]
    for text, folder, columns, row in (
        (SCHEDULES, "schedules", ("schedule", "what", "optimizer", "rate", "course", "length", "more"), schedule_row),
        (DATASETS, "datasets", ("data set", "what", "class", "batch", "names to set"), dataset_row),
        (STEPS, "incremental", ("method", "what", "losses"), steps_row),
    ):
        files = sorted((BASES / folder).glob("*.py"))
        rows = [f"| {' | '.join(columns)} |", "|" + "---|" * len(columns)]
        for file in files:
            place = site.place_of(f"configs/_base_/{folder}/{file.name}", "", PAGE)
            name = f"[{file.stem}]({relative(PAGE, place)})"
            cells = [name, markdown(summary_of(file)), *row(file)]
            rows.append(f"| {' | '.join(cell(text) or ' ' for text in cells)} |")
        parts += [text, '<div class="table-tools texts" markdown>', "\n".join(rows), "</div>"]
    site.write(PAGE, "\n\n".join(parts) + "\n")


def summary_of(file: Path) -> str:
    """The first paragraph of a config's docstring."""
    text = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    return " ".join(text.split("\n\n")[0].split())


def schedule_row(file: Path) -> tuple[str, ...]:
    """Optimizer, rate, course, length, and what else a schedule sets."""
    cfg = config_of(file, names_of(file))
    optimizer, schedule, loop = (dict(cfg.get(key) or {}) for key in ("optimizer", "schedule", "loop"))
    length = f"{loop['epochs']} epochs" if "epochs" in loop else f"{loop['steps']:,} steps" if "steps" in loop else ""
    course = schedule.pop("type", "")
    if warmup := schedule.pop("warmup", None):
        steps = warmup["steps"]
        schedule["warm-up"] = f"{steps:,} steps" if steps >= 1 else f"{steps:g} of the run"
    course += "".join(f", {key} {shown(value)}" for key, value in schedule.items())
    more = [f"`{key}`" for key in ("clip", "amp", "ema") if loop.get(key)]
    more += [f"`{key}`" for key in ("groups", "layer_decay", "freeze") if optimizer.get(key)]
    return optimizer.get("type", "that of the model"), shown(optimizer.get("lr", "")), course, length, ", ".join(more)


def shown(value: Any) -> str:
    """A value in a cell: small numbers by their exponent, shares short."""
    if isinstance(value, float):
        return f"{value:.3g}"
    if isinstance(value, list | tuple):
        return ", ".join(shown(one) for one in value)
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def dataset_row(file: Path) -> tuple[str, ...]:
    """The class of the training set, images of a batch, and the names that a config sets over the file."""
    names = names_of(file)
    train = config_of(file, names).get("train") or {}
    kind = (train.get("dataset") or {}).get("type", "")
    return f"`{kind}`" if kind else "", shown(train.get("batch_size", "")), ", ".join(f"`{name}`" for name in names)


def config_of(file: Path, names: Sequence[str]) -> Config:
    """Reads a base whose names a config over it, such as the model's, may read.

    Args:
        file: the base.
        names: that it sets beside sections.
    """
    reads = ", ".join(f'ref("{name}")' for name in names)
    text = f"from segkit.config import ref\n_base_ = {str(file)!r}\ninit = dict(reads=[{reads}])\n"
    with tempfile.TemporaryDirectory() as folder:
        over = Path(folder) / "over.py"
        over.write_text(text, encoding="utf-8")
        return load_config(over)


def names_of(file: Path) -> list[str]:
    """The names that a config and its bases set at their top level beside sections, in their order."""
    found: list[str] = []
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if not isinstance(node, ast.Assign):
            continue
        names = [name.id for target in node.targets for name in ast.walk(target) if isinstance(name, ast.Name)]
        if names == ["_base_"]:
            bases = ast.literal_eval(node.value)
            for base in [bases] if isinstance(bases, str) else bases:
                found += names_of(file.parent / base)
        found += [name for name in names if not name.startswith("_") and name not in SECTIONS]
    return list(dict.fromkeys(found))


def steps_row(file: Path) -> tuple[str, ...]:
    """The losses that a method of class steps names."""
    types = re.findall(r'type="(\w+)"', file.read_text(encoding="utf-8"))
    return (", ".join(f"`{name}`" for name in dict.fromkeys(types) if name in LOSSES.names()),)
