"""Scores the test sets of a config one after the other, and writes what is asked for: scores, pictures, tables."""

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from segkit import dist
from segkit.data.dataset import Dataset
from segkit.data.incremental.plan import CONVENTIONS
from segkit.engine import setup
from segkit.engine.hooks import Hook
from segkit.files import need_writable, write_whole
from segkit.models.bases import Network
from segkit.registry import ConfigError, did_you_mean
from segkit.runners.analysis import KEY, Analysis, AnalysisRequest, sections_of, text_of
from segkit.runners.base import Runner, build_runner
from segkit.runners.ensemble import runner_of
from segkit.runners.page import ResultPage
from segkit.runners.per_image import PerImage
from segkit.runners.probabilities import SaveProbabilities
from segkit.runners.saved_predictions import SavePredictions
from segkit.runners.scoring import check_names, score_set, type_of_set
from segkit.runners.writers import Writer


class Files(NamedTuple):
    """Where an evaluation writes; None for nothing.

    Attributes:
        out: JSON file for the scores.
        show: folder for pictures.
        per_image: CSV file for the scores of each image.
        probabilities: folder for the probabilities of each image.
        show_count: pictures at most.
        predictions: folder for the predictions.
        annotations: COCO JSON file that gives predictions of instances and segments their ids.
    """

    out: Path | None = None
    show: Path | None = None
    per_image: Path | None = None
    probabilities: Path | None = None
    show_count: int = 50
    predictions: Path | None = None
    annotations: Path | None = None

    def check(self) -> None:
        """Raises a DataError on the main process where results could not be written, before anything is scored."""
        if not dist.is_main_process():
            return
        if self.out is not None:
            need_writable(self.out, "choose another --out")
        if self.show is not None:
            need_writable(self.show / "picture.png", "choose another folder for --show")
        if self.per_image is not None:
            need_writable(self.per_image, "choose another --out")
        if self.probabilities is not None:
            need_writable(self.probabilities / "image.npz", "choose another folder for --probabilities")
        if self.predictions is not None:
            need_writable(self.predictions / "image.png", "choose another folder for --predictions")


def by_protocol(sections: dict[str, dict], protocols: Sequence[str]) -> dict[str, dict]:
    """Returns the test sets of class steps under each protocol, by its name.

    Args:
        sections: of test_sections.
        protocols: names of conventions, see data.incremental.plan.CONVENTIONS; none leaves the sets as they are.

    Raises:
        ConfigError: there is no such protocol, or a test set has no class steps.
    """
    found = {} if protocols else sections
    for protocol in protocols:
        if protocol not in CONVENTIONS:
            raise ConfigError(
                f"--protocols {protocol}: must be of {', '.join(CONVENTIONS)}{did_you_mean(protocol, CONVENTIONS)}"
            )
        for name, section in sections.items():
            dataset = section["dataset"]
            if dataset.get("type") != "ClassSteps":
                raise ConfigError(
                    f"--protocols: {dataset.get('type')} has no class steps; leave it out, or score a checkpoint of "
                    "runner 'Incremental'"
                )
            changed = {**section, "dataset": {**dataset, "convention": protocol}}
            found[f"{name}.{protocol}" if name else protocol] = changed
    return found


def checked_files(
    out: str | Path | None,
    show: str | Path | None,
    show_count: int,
    per_image: str | Path | None,
    probabilities: str | Path | None,
    predictions: str | Path | None,
    annotations: str | Path | None,
) -> Files:
    """Returns Files of paths as a user gives them; DataError where results could not be written."""
    wanted = (out, show, per_image, probabilities, predictions, annotations)
    paths = [None if path is None else Path(path) for path in wanted]
    files = Files(paths[0], paths[1], paths[2], paths[3], show_count, paths[4], paths[5])
    files.check()
    return files


def score_sets(
    network: Network,
    sections: dict[str, dict],
    split: str,
    files: Files,
    say: Callable[[str], None] | None,
    page: ResultPage | None = None,
    analysis: AnalysisRequest | None = None,
) -> dict[str, dict[str, Any]]:
    """Scores test sets.

    All are built before the first is scored, so that a fault of the last one costs no hours.

    Args:
        network: of load_model or load_ensemble.
        sections: of the sets by name, "" for the only one.
        split: name of the section.
        files: what is written.
        say: takes tables, and switches a progress bar on.
        page: takes in what is found; the caller writes it.
        analysis: what is asked for beyond the scores, which then hold it under "analysis".

    Returns:
        Scores by the name of the set.
    """
    cfg = network.config
    metrics = setup.build_metrics(cfg.get("metrics", []), default=build_runner(cfg).default_metrics)
    runners = {name: runner_of(network, section) for name, section in sections.items()}
    for runner in runners.values():
        if files.probabilities is not None:
            runner.keep_probabilities()
    data_of = {name: _data_to_score(network, runners[name], sections[name], split, name) for name in sections}
    wanted = files.per_image is not None
    tables = {name: PerImage(runners[name].image_scores(data_of[name].dataset)) for name in sections if wanted}
    analyses = {}
    if analysis is not None:
        analyses = {n: Analysis(analysis, runners[n], data_of[n].dataset, metrics) for n in sections}
    results = {}
    for name, data in data_of.items():
        hooks: list[Hook] = [tables[name]] if name in tables else []
        if name in analyses:
            hooks.append(analyses[name])
        if files.probabilities is not None:
            hooks.append(SaveProbabilities(files.probabilities / name, data.dataset.classes))
        pictures = None if files.show is None else files.show / name
        runner = runners[name]
        writer = _writer(files, name, runner, data.dataset)
        if writer is not None:
            hooks.append(SavePredictions(writer))
        title = name or type_of_set(sections[name])
        watchers = [] if page is None else [page.watch(title, runner, data.dataset)]
        results[name] = score_set(
            network, runner, data, metrics, pictures, files.show_count, name, say, hooks, watchers
        )
        if name in analyses:
            results[name][KEY] = _analyzed(analyses[name], name, title, page, say)
        if writer is not None:
            writer.close()
        if files.per_image is not None:
            tables[name].write(_of_set(files.per_image, name))
    if files.out is not None and dist.is_main():
        scores = results[""] if list(results) == [""] else results
        write_whole(files.out, json.dumps(scores, indent=1) + "\n")
    return results


def _analyzed(
    analysis: Analysis, name: str, title: str, page: ResultPage | None, say: Callable[[str], None] | None
) -> dict[str, Any]:
    """What is found beyond the scores of a test set, said and shown; the same on every process."""
    images = analysis.request.images
    findings = analysis.result(None if images is None else _of_set(images, name))
    if dist.is_main():
        if say is not None:
            say(text_of(findings))
        if page is not None:
            page.attach(title, sections_of(findings))
    return findings.as_json()


def _writer(files: Files, name: str, runner: Runner, dataset: Dataset) -> Writer | None:
    """Of the predictions for a test set; None where they are not asked for."""
    if files.predictions is None:
        return None
    folder, annotations = files.predictions / name, files.annotations
    return runner.writer(folder, tuple(dataset.classes), tuple(dataset.palette), annotations=annotations)


def _of_set(path: Path, name: str) -> Path:
    return path.with_name(f"{path.stem}_{name}{path.suffix}") if name else path


def _data_to_score(network: Network, runner: Runner, section: dict, split: str, name: str) -> setup.Evaluation:
    """The data of a test set, whose classes are compared with the model's before anything is scored."""
    at = f"{split}.{name}" if name else split
    data = setup.build_evaluation(
        section, at, network.mean.device, needs_stored=runner.needs_stored, keep_stored=runner.keep_stored
    )
    if runner.predicts_classes and (text := check_names(network, data.dataset, f"{at}.dataset")) and dist.is_main():
        print(f"warning: {text}", file=sys.stderr, flush=True)
    return data
