"""Cross-validation: segkit train CONFIG --folds 5 trains a model for each fold and scores each on its own images."""

import argparse
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from segkit.config import Config
from segkit.files import DataError, parse_json, read_text, write_whole
from segkit.registry import ConfigError

RESULT = "fold.json"
"""Beside the checkpoints of a fold: its scores, once it is trained and scored."""


@dataclass(frozen=True)
class Plan:
    """How a training set is dealt to folds.

    Attributes:
        folds: their number, 2 or more.
        by: what stays together, see data set Split; None for single images.
        seed: of the choice.
    """

    folds: int
    by: str | None = None
    seed: int = 0

    def config(self, cfg: Config, fold: int) -> Config:
        """Returns the config of a fold: `train` without the fold's images, `val` with them alone."""
        whole = cfg["train"]["dataset"]
        part = dict(asdict(self), type="Fold", dataset=whole, fold=fold, stratify=True)
        sections = {
            **cfg,
            "train": {**cfg["train"], "dataset": part},
            "val": {**(cfg.get("val") or {}), "dataset": {**part, "only": True}},
        }
        return Config(sections, cfg.file, cfg.origins)


def add_arguments(arguments: argparse.ArgumentParser) -> None:
    """Adds --folds and --folds-by."""
    arguments.add_argument(
        "--folds",
        type=int,
        metavar="K",
        help="cross-validation: K trainings, each without a K-th of train.dataset, on which it is scored",
    )
    arguments.add_argument(
        "--folds-by",
        metavar="RULE",
        help="what stays in one fold: folder, folder:2, TABLE.csv:COLUMN, time:SECONDS, or a regular expression on ids",
    )


def plan_of(args: argparse.Namespace) -> Plan:
    """Returns the plan that the command line asks for; ConfigError where options contradict one another."""
    if args.folds < 2:
        raise ConfigError(f"--folds {args.folds}: must be 2 or more")
    if args.from_step is not None:
        raise ConfigError("--folds and --from-step: class steps are not trained in folds; give one of them")
    if args.resume not in (None, "last"):
        raise ConfigError(
            f"--folds and --resume {args.resume}: folds go on from their own checkpoints; give --resume alone"
        )
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ConfigError("--folds: runs on one process; under torchrun train each fold by itself, with data set Fold")
    return Plan(args.folds, args.folds_by)


def check_foldable(cfg: Config, plan: Plan) -> None:
    """Checks that a config can be trained in folds, and each fold be dealt.

    Raises:
        ConfigError: its runner predicts no label maps, it trains in stages, or its training set is a fold already.
        DataError: `by` does not fit, or there are fewer groups than folds.
    """
    from segkit.engine.setup import DataSets
    from segkit.runners.base import build_runner
    from segkit.runners.semantic import Semantic
    from segkit.runners.training import check_sections

    check_sections(cfg)
    kind = cfg["train"]["dataset"].get("type")
    if kind == "Fold":
        raise ConfigError(
            "--folds: train.dataset is a Fold already, whose other part would go unused; name the whole set"
        )
    runner, datasets = build_runner(cfg), DataSets()
    if not isinstance(runner, Semantic):
        raise ConfigError(
            f"--folds: the held-out part of {kind} is not scored by runner {type(runner).__name__}, which predicts no "
            "label maps; write a config for each fold with data set Fold"
        )
    if len(runner.stages(cfg, datasets)) > 1:
        raise ConfigError(
            f"--folds: runner {type(runner).__name__} trains in stages of its own; write a config for each fold with "
            "data set Fold"
        )
    for fold in range(plan.folds):
        try:
            datasets.get(plan.config(cfg, fold)["train"]["dataset"], "--folds: train.dataset")
        except ConfigError as error:
            raise ConfigError(
                str(error).replace("Fold.folds = ", "--folds ").replace("Fold.by", "--folds-by")
            ) from error


def train_folds(cfg: Config, plan: Plan, args: argparse.Namespace) -> bool:
    """Trains and scores all folds, then the ensemble; prints and writes the table.

    Args:
        cfg: the checked config of the whole.
        plan: how it is dealt.
        args: of `segkit train`.

    Returns:
        False where a training was stopped.
    """
    from segkit.runners.training import run_folder

    check_foldable(cfg, plan)
    if args.check:
        from segkit import api

        api.check_data(plan.config(cfg, 0), device=args.device)
        return True
    folder = run_folder(args.work_dir, cfg.file)
    own = (cfg.get("val") or {}).get("dataset")
    if own:
        print(f"--folds: section val is the held-out part of train.dataset, not {own.get('type')} of the config")
    scores = []
    for fold in range(plan.folds):
        found = _fold(cfg, plan, fold, folder, args)
        if found is None:
            return False
        scores.append(found)
    _report(cfg, plan, scores, folder, args)
    return True


def _fold(cfg: Config, plan: Plan, fold: int, folder: Path, args: argparse.Namespace) -> dict[str, Any] | None:
    """The scores of a fold, which is trained where it has none; None where its training was stopped."""
    from segkit import api

    place = folder / f"fold{fold}"
    if args.resume and (kept := _kept(place / RESULT, plan)) is not None:
        print(f"fold {fold}: trained and scored already, see {place / RESULT}")
        return kept
    resumes = bool(args.resume) and (place / "last.pt").is_file()
    print(f"fold {fold} of {plan.folds}:", flush=True)
    if args.overwrite:
        (place / RESULT).unlink(missing_ok=True)
    config = plan.config(cfg, fold)
    result = api.train(
        config, place, resume=True if resumes else None, device=args.device, overwrite=args.overwrite and not resumes
    )
    if not result.is_finished:
        return None
    scores = api.evaluate(result.model, split="val")
    content = dict(plan=asdict(plan), fold=fold, checkpoint="last.pt", scores=scores)
    write_whole(place / RESULT, json.dumps(content, indent=1) + "\n")
    return scores


def _kept(path: Path, plan: Plan) -> dict[str, Any] | None:
    """The scores of a finished fold, None where there are none.

    Raises:
        DataError: they are of other folds.
    """
    if not path.is_file():
        return None
    content = parse_json(read_text(path), path)
    if not isinstance(content, dict) or content.get("plan") != asdict(plan):
        before = content.get("plan") if isinstance(content, dict) else content
        raise DataError(
            f"{path}: is of another division ({before}); train into another --work-dir, or give --overwrite"
        )
    return content["scores"]


def _report(cfg: Config, plan: Plan, scores: list[dict], folder: Path, args: argparse.Namespace) -> None:
    from segkit.engine.evaluate import flat_scores
    from segkit.runners.fold_table import as_markdown, as_text, rows, spreads

    found = spreads(scores)
    ensemble, reason = _ensemble(cfg, plan, folder, args)
    is_single = bool(ensemble) and "dataset" in cfg["test"]
    table = rows(found, flat_scores(ensemble) if is_single else {})
    content = dict(
        plan=asdict(plan),
        scores={name: asdict(one) for name, one in found.items()},
        folds=scores,
        ensemble=ensemble or None,
        ensemble_missing=reason or None,
    )
    write_whole(folder / "folds.json", json.dumps(content, indent=1) + "\n")
    write_whole(folder / "folds.md", as_markdown(table) + "\n" + (f"\n{reason}\n" if reason else ""))
    print(f"\n{plan.folds} folds, each scored by its last.pt on the images that it was not trained on:")
    print(as_text(table))
    if not is_single:
        for name, of_set in ensemble.items():
            shown = ", ".join(f"{key} {value:.2f}" for key, value in list(flat_scores(of_set).items())[:4])
            print(f"ensemble on {name}: {shown}")
    if reason:
        print(reason)
    print(f"{folder / 'folds.md'}\n{folder / 'folds.json'}")


def _ensemble(cfg: Config, plan: Plan, folder: Path, args: argparse.Namespace) -> tuple[dict[str, Any], str]:
    """The scores of all models together on the test data, and why there are none."""
    from segkit import api

    if not cfg.get("test"):
        return {}, (
            "no score of the ensemble: the config has no section `test`, and each image of train.dataset was trained "
            "on by all models but one"
        )
    paths = [folder / f"fold{fold}" / "last.pt" for fold in range(plan.folds)]
    try:
        # the checkpoints are this run's own, of classes that this config names
        return api.evaluate(paths, split="test", device=args.device, trust=True), ""
    except ConfigError as error:
        return {}, f"no score of the ensemble: {error}"
