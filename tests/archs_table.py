"""The rows of tests/arch_rows, one for every file of configs/_base_/models, and a function that builds their models.

A new system adds its config and a row: to a module of tests/arch_rows or to a new module beside them.
"""

import importlib
import pkgutil
from pathlib import Path

import torch
from torch import nn

from segkit.config import load_config
from segkit.registry import build_model
from segkit.schema import check
from tests import arch_rows
from tests.arch_rows.row import Row

MODELS = Path(__file__).parents[1] / "configs/_base_/models"


def collect() -> dict[str, Row]:
    """Collects the ROWS of every module of tests/arch_rows, by config name."""
    rows: dict[str, Row] = {}
    for info in pkgutil.iter_modules(arch_rows.__path__):
        more = getattr(importlib.import_module(f"tests.arch_rows.{info.name}"), "ROWS", {})
        assert not rows.keys() & more.keys(), f"{info.name}: {sorted(rows.keys() & more.keys())} have a row already"
        rows |= more
    return rows


ROWS = collect()


def build(name: str, classes: int, options: tuple[str, ...] = (), device: str = "cpu") -> nn.Module:
    """Checks one file of configs/_base_/models and builds its model."""
    cfg = load_config(MODELS / f"{name}.py", [f"num_classes={classes}", *options])
    check(cfg)
    with torch.device(device):
        return build_model(cfg["model"])
