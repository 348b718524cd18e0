"""Searches thresholds and least areas on labelled images: segkit thresholds CHECKPOINT [--areas 0 500 ...]."""

import argparse
import json

from segkit.cli import common
from segkit.registry import ConfigError

THRESHOLDS = tuple(round(0.05 * step, 2) for step in range(2, 19))
"""Probabilities that are tried by default."""

SHARES = (0.0, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05)
"""Least areas that are tried by default, as shares of an image's pixels."""


def main(argv: list[str] | None = None) -> int:
    """Runs `segkit thresholds`; returns the exit code."""
    arguments = common.parser("thresholds", __doc__ or "")
    arguments.add_argument("checkpoint", metavar="CHECKPOINT", help="of a config with the runner MultiLabel")
    arguments.add_argument("--config", help="a config file; default: the config inside the checkpoint")
    arguments.add_argument("--out", metavar="JSON", help="file for the decision and its scores; default: none")
    arguments.add_argument("--split", choices=("val", "test"), default="val", help="labelled section to search on")
    arguments.add_argument("--thresholds", type=float, nargs="+", default=THRESHOLDS, help="probabilities to try")
    arguments.add_argument(
        "--areas", type=int, nargs="+", help="least areas to try, in pixels; default: 0 to 5 %% of the first image"
    )
    arguments.add_argument(
        "--components", type=int, nargs="+", default=(0,), help="least sizes of connected parts, in pixels; default 0"
    )
    arguments.add_argument("--tta", action="store_true", help="mean over scales .75, 1, 1.25 and mirrored images")
    arguments.add_argument("--slide", action="store_true", help="sliding window: inference.crop or the training crop")
    common.add_device(arguments)
    common.add_trust(arguments)
    common.add_options(arguments)
    return common.run(_search, arguments.parse_args(argv))


def _search(args: argparse.Namespace) -> int:
    import numpy as np

    from segkit import dist
    from segkit.cli.masks import predicting
    from segkit.engine.setup import build_metrics
    from segkit.files import need_writable, write_whole
    from segkit.metrics.mask_scores import MaskScore
    from segkit.runners.threshold_search import Grid, search

    if args.out and dist.is_main_process():
        need_writable(args.out, "choose another --out")
    with predicting(args) as (model, runner, data, tick):
        metrics = build_metrics(model.config.get("metrics"), default=runner.default_metrics)
        metric = next((metric for metric in metrics if isinstance(metric, MaskScore)), None)
        if metric is None:
            raise ConfigError("metrics: name MeanDice or MeanPrecision, whose mean the search makes as high as it can")
        areas = args.areas
        if areas is None:
            height, width = data.dataset.sample(0, np.random.default_rng(0))["meta"]["size"]
            areas = sorted({round(share * height * width) for share in SHARES})
        grid = Grid(tuple(args.thresholds), tuple(areas), tuple(args.components))
        found = search(model, runner, data, metric, grid, tick)
        if not dist.is_main():
            return 0
        decision = {key: list(value) for key, value in vars(found.decision).items()}
        print(f"{len(data.dataset):,} images of {data.at}, {metric.name} in %: {'before':>10}{'best':>9}")
        for name, before, best in zip(data.dataset.classes, found.before, found.scores):
            print(f"  {name:40}{100 * before:9.2f}{100 * best:9.2f}")
        print(f"  {'mean':40}{100 * found.before.mean():9.2f}{100 * found.scores.mean():9.2f}")
        options = " ".join(
            f"runner.{key}={json.dumps(value, separators=(',', ':'))}" for key, value in decision.items()
        )
        print(f"use it by: --cfg-options {options}")
        if args.out:
            scores = {name: round(100 * score, 4) for name, score in zip(data.dataset.classes, found.scores)}
            content = {"runner": decision, metric.name: scores}
            print(write_whole(args.out, json.dumps(content, indent=1) + "\n", "choose another --out"))
    return 0
