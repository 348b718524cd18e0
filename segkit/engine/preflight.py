"""Looks at the data before the first step: pairing, sizes, labels, and whether the metrics can score them."""

import inspect
import os
from collections.abc import Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from segkit import dist
from segkit.criterion import with_ignore
from segkit.data.dataset import Dataset
from segkit.data.files.image_values import ImageValues
from segkit.data.loader import TrainItems
from segkit.data.preflight import Report, check_dataset
from segkit.data.semantic.pseudo_labels import leaks
from segkit.data.splits.image_hash import LookBook
from segkit.data.splits.near_duplicates import quick_search
from segkit.data.transforms.base import ImageFacts, check_all
from segkit.data.transforms.schedule import LONG, of_step
from segkit.engine.check_rows import check_rows
from segkit.engine.monitor import choose
from segkit.engine.schedules import rising_rates
from segkit.engine.setup import DataSets, build_eval_transforms, build_metrics, build_transforms
from segkit.files import DataError
from segkit.registry import BACKBONES, ConfigError
from segkit.settings import LoopSettings

if TYPE_CHECKING:
    from segkit.runners.base import Runner


class SectionReport(NamedTuple):
    """What the check found in a data section: "train" or "val"."""

    section: str
    report: Report


def preflight(
    cfg: dict,
    runner: "Runner",
    datasets: DataSets,
    *,
    limit: int = 0,
    stage: int | None = None,
    resumes: bool = False,
) -> list[SectionReport]:
    """Checks the data of the stage that a run begins with. All processes of a run call it.

    Args:
        cfg: the checked sections.
        runner: of the run; gives its stages.
        datasets: takes the data sets that are built, for the training to use.
        limit: masks read in each section, 0 for all.
        stage: the stage that the run begins with, None for the runner's first.
        resumes: whether the run goes on from a checkpoint of its own.

    Raises:
        ConfigError: a data set cannot be built, the stage does not exist, loop.monitor is no score of the metrics, a
            transform leaves predictions no way back, the losses do not fit the model, or pseudo labels come from models
            that were trained on images of `val`.
    """
    _check_transforms(cfg, runner)
    check_rows(cfg)
    reports: list[SectionReport] = []
    seen: list[Dataset] = []
    overrides = _overrides(cfg, runner, datasets, stage, resumes)
    width = None if "model" in overrides else cfg["model"].get("num_classes")
    backbone = cfg["model"].get("backbone") or {}
    for section in ("train", "val"):
        if not cfg.get(section):
            continue
        metrics = cfg.get("metrics") or [] if section == "val" else []
        try:
            dataset = datasets.get({**cfg, **overrides}[section]["dataset"], f"{section}.dataset")
            if section == "train":
                losses = {**cfg, **overrides}.get("losses") or []
                with_ignore([row for row in losses if row], dataset.ignore, type(dataset).__name__)
            report = _report(dataset, limit, width, metrics, backbone)
        except DataError:
            # what the stage makes of the data stops at the first bad file; the data itself has a list of them
            dataset = datasets.get(cfg[section]["dataset"], f"{section}.dataset")
            report = _report(dataset, limit, None, (), backbone)
            if report.is_ok:
                raise
        reports.append(SectionReport(section, report))
        seen.append(dataset)
        if section == "train" and report.is_ok:
            _check_item({**cfg, **overrides}, dataset, report.values)
    for _, report in reports[:1]:
        report.warnings += rising_rates(cfg.get("schedule"), cfg.get("optimizer"))
    _note_shared(reports, seen)
    _note_near(reports, seen)
    if len(seen) == 2 and (text := leaks(*seen)):
        raise ConfigError(text)
    if cfg.get("val") and all(report.is_ok for _, report in reports):
        _check_monitor({**cfg, **overrides}, runner, datasets)
    return reports


def _check_transforms(cfg: dict, runner: "Runner") -> None:
    """Raises ConfigError where a transform of `val` or a test set leaves predictions no way back."""
    for at, section in scored_sections(cfg).items():
        rows = section.get("transforms") or []
        build_eval_transforms(rows, f"{at}.transforms", needs_stored=runner.needs_stored)


def scored_sections(cfg: dict) -> dict[str, dict]:
    """Returns section `val` and the test sets, by their config paths; those that a config leaves out are missing."""
    test = cfg.get("test") or {}
    tests = {"test": test} if "dataset" in test else {f"test.{name}": section for name, section in test.items()}
    sections = {"val": cfg.get("val") or {}, **tests}
    return {at: section for at, section in sections.items() if section}


DRAWS = 8
"""Times that the first item is augmented before training, since transforms are applied by chance."""


def _check_item(cfg: dict, dataset: Dataset, values: ImageValues) -> None:
    """Checks that the transforms and the model take the images of the training set, on its first item.

    Args:
        cfg: the sections of the stage.
        dataset: of section `train`.
        values: of the images that were read.

    Raises:
        ConfigError: names the transform or the model's argument, and the image.
    """
    sample, path = dataset.sample(0, np.random.default_rng(0)), dataset.path(0)
    channels, backbone = sample["image"].shape[2], cfg["model"].get("backbone") or {}
    taken = inspect.signature(BACKBONES.get(backbone["type"])).parameters.get("in_channels") if backbone else None
    width = backbone.get("in_channels", taken.default) if taken is not None else channels
    if isinstance(width, int) and width != channels:
        raise ConfigError(
            f"model.backbone.in_channels = {width}: {path} has {channels} channels; set in_channels={channels}, or "
            "train.dataset to read as many as the model takes"
        )
    at = "train.transforms"
    transforms = build_transforms(cfg["train"].get("transforms") or [], at, dataset.ignore)
    items = TrainItems(dataset, transforms, 0)
    facts = ImageFacts(values.channels, values.is_uint8, *values.range)
    for number, transform in enumerate(transforms):
        try:
            check_all([transform], facts)
        except ConfigError as error:
            raise ConfigError(f"{at}.{number}: {error} (images like {path})") from error
    for draw in range(2 * DRAWS):
        rng, changed = np.random.default_rng(draw), sample
        step = (0, LONG - 1)[draw % 2]  # what comes first in the training, and what comes last
        for number, transform in enumerate(transforms):
            try:
                changed = items.changed(changed, of_step([transform], step, LONG), rng)
            except (ValueError, TypeError, KeyError, IndexError) as error:
                raise ConfigError(f"{at}.{number}: {error} (tried on {path})") from error


MOST_COMPARED = 2_000_000
"""Images of a data set beyond which it is not compared with another one: the names alone would fill the memory."""


def _note_shared(reports: Sequence[SectionReport], datasets: Sequence[Dataset]) -> None:
    """Warns where images are both trained on and scored."""
    if len(datasets) < 2 or max(map(len, datasets)) > MOST_COMPARED:
        return
    train, val = (_files_of(dataset) for dataset in datasets)
    shared = [path for file, path in val.items() if file in train]
    if shared:
        reports[1].report.warnings.append(
            f"{len(shared)} of {len(val)} images are also in train ({shared[0]}): scores on them say little about "
            "others; give val images of its own"
        )


def _note_near(reports: Sequence[SectionReport], datasets: Sequence[Dataset]) -> None:
    """Warns where some images of `val` look like images of `train`; a quick search that keeps what it computes."""
    if (
        len(datasets) < 2
        or max(map(len, datasets)) > MOST_COMPARED
        or not dist.is_main()
        or not all(report.is_ok for _, report in reports)
    ):
        return
    try:
        pairs, looked = quick_search(datasets[0], datasets[1], LookBook())
    except (DataError, OSError):
        return  # a cache that cannot be written is no reason not to train
    train_files = _files_of(datasets[0])
    near = [pair for pair in pairs if os.path.realpath(pair.second) not in train_files]  # the others are told above
    if near:
        count = len({pair.second for pair in near})
        reports[1].report.warnings.append(
            f"{count} of {looked} images looked at are near duplicates of images of train ({near[0].second} and "
            f"{near[0].first}, {near[0].distance} of 64 bits differ): scores may be too good; `segkit analyze "
            "duplicates CONFIG` names all, and Split(by=...) keeps scenes together"
        )


MOST_RESOLVED = 20_000
"""Images of a data set whose links are followed one by one; of larger sets only the links of their folders are."""


def _files_of(dataset: Dataset) -> dict[str, str]:
    """The image files of a data set, by the path at which they really lie."""
    paths = {dataset.path(index): None for index in range(len(dataset))}
    if len(paths) <= MOST_RESOLVED:
        return {os.path.realpath(path): path for path in paths}
    folders = {folder: os.path.realpath(folder) for folder in {os.path.dirname(path) for path in paths}}
    return {os.path.join(folders[os.path.dirname(path)], os.path.basename(path)): path for path in paths}


def _check_monitor(cfg: dict, runner: "Runner", datasets: DataSets) -> None:
    """Raises ConfigError where the score that chooses best.pt is none of the metrics'."""
    metrics = build_metrics(cfg.get("metrics"), default=runner.default_metrics)
    choose(LoopSettings(**(cfg.get("loop") or {})), metrics, datasets.get(cfg["val"]["dataset"], "val.dataset"))


def print_reports(reports: Sequence[SectionReport]) -> None:
    """Prints facts and warnings, on the main process.

    Raises:
        DataError: a section has errors; the message lists them.
    """
    errors = []
    for section, report in reports:
        errors += [f"{section}: error: {line}" for line in report.errors]
        if dist.is_main():
            for line in report.lines:
                print(f"{section}: {line}", flush=True)
            for line in report.warnings:
                print(f"{section}: warning: {line}", flush=True)
    if errors:
        raise DataError("\n".join(errors))


def _report(
    dataset: Dataset, limit: int, width: int | None, metrics: Sequence[dict], backbone: dict[str, Any]
) -> Report:
    """width: model.num_classes, None where the model follows the data; metrics: rows that score the data set; backbone:
    section model.backbone, whose mean and std the images shall fit."""
    # A model of one channel tells two classes apart.
    classes = width if isinstance(width, int) and width > 1 else len(dataset.classes)
    normalization = {name: backbone[name] for name in ("mean", "std") if backbone.get(name) is not None}
    most = limit or len(dataset)
    report = check_dataset(dataset, num_classes=classes, ignore=dataset.ignore, limit=most, **normalization)
    report.lines += dataset.facts
    report.errors += unscorable(dataset, metrics)
    return report


def unscorable(dataset: Dataset, rows: Sequence[dict[str, Any]]) -> list[str]:
    """Returns why metrics of instances cannot score the data set's annotations; [] where they can.

    Without this it shows at the first evaluation.

    Args:
        dataset: with annotations in COCO form, else nothing is looked at.
        rows: section `metrics`.
    """
    if not rows or not hasattr(type(dataset), "annotations"):  # asked of the type, since reading them may fail
        return []
    metrics = [metric for metric in build_metrics(list(rows)) if metric.section is not None]
    try:
        annotations = getattr(dataset, "annotations") if metrics else {}  # noqa: B009  # read once for all of them
        truth = SimpleNamespace(annotations=annotations)
        for metric in metrics:
            metric.start(truth)
    except (DataError, ConfigError) as error:
        return [str(error)]
    return []


def _overrides(cfg: dict, runner: "Runner", datasets: DataSets, stage: int | None, resumes: bool) -> dict:
    """Sections in which the run's first stage differs from the config."""
    number = runner.first_stage if stage is None else stage
    stages = runner.stages(cfg, datasets)
    if not 0 <= number < len(stages):
        last = len(stages) - 1
        way_out = f"this run has the steps 0 to {last}" if last else "this run has no class steps; leave it out"
        raise ConfigError(f"--from-step {number}: {way_out}")
    if stage is None and not resumes:
        runner.check_start(cfg)
    return stages[number].overrides
