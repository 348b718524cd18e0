"""Looks at the data before the first step: pairing, sizes, labels."""

import sys
from collections.abc import Iterable

from segkit.config import Config
from segkit.registry import ConfigError


def needed_sections(cfg: Config, names: Iterable[str]) -> None:
    """An error for a section the command cannot do without."""
    for name in names:
        if not cfg.get(name):
            raise ConfigError(f"{name}: this section is missing in {cfg.file}")


def preflight(cfg: Config, limit: int) -> int:
    """limit: masks read per section, 0 = all. Prints a report per section; -> 2 where one has errors, else 0."""
    from segkit.data.preflight import check_dataset
    from segkit.engine.setup import build_dataset

    code = 0
    width = cfg["model"].get("num_classes")
    for section in ("train", "val"):
        if not cfg.get(section):
            continue
        dataset = build_dataset(cfg[section]["dataset"], f"{section}.dataset")
        # A model of one channel tells two classes apart.
        classes = width if isinstance(width, int) and width > 1 else len(dataset.classes)
        ignore = getattr(dataset, "ignore", 255)
        report = check_dataset(dataset, num_classes=classes, ignore=ignore, limit=limit or len(dataset))
        for line in report.lines:
            print(f"{section}: {line}", flush=True)
        for line in report.warnings:
            print(f"{section}: warning: {line}", flush=True)
        for line in report.errors:
            print(f"{section}: error: {line}", file=sys.stderr, flush=True)
            code = 2
    return code
