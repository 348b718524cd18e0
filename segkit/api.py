"""The library in seven functions: load_config, train, evaluate, load_model, load_ensemble, predict, click_predictor."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal

import torch

from segkit import dist
from segkit.config import Config, load_config, set_option
from segkit.engine import setup
from segkit.engine.dry_run import dry_run
from segkit.engine.hooks import Hook
from segkit.engine.preflight import preflight, print_reports
from segkit.engine.world import joined
from segkit.models.bases import Network
from segkit.registry import (
    ConfigError,
    build_model,
    did_you_mean,
)
from segkit.runners.analysis import AnalysisRequest
from segkit.runners.base import Runner, build_runner
from segkit.runners.ensemble import load_ensemble, networks_of, runner_of
from segkit.runners.input_images import ImageInput
from segkit.runners.inputs import inputs_of, transforms_of_test
from segkit.runners.interactive.click_groups import compare_groups, with_clicks
from segkit.runners.interactive.predictor import ClickPredictor
from segkit.runners.loading import load_model
from segkit.runners.page import PageRequest, ResultPage
from segkit.runners.predicting import predict_array
from segkit.runners.scoring import chosen_sets, test_sections, type_of_set, with_switches
from segkit.runners.test_sets import by_protocol, checked_files, score_sets
from segkit.runners.training import Start, TrainResult, check_init, check_sections, run_folder, run_training
from segkit.schema import check, need_sections
from segkit.settings import ClickInference, LoopSettings
from segkit.types import Prediction

__all__ = [
    "TrainResult",
    "build_model",
    "build_runner",
    "check_data",
    "click_predictor",
    "evaluate",
    "load_config",
    "load_ensemble",
    "load_model",
    "predict",
    "train",
]


def train(
    cfg: str | Path | dict,
    work_dir: str | Path | None = None,
    *,
    resume: bool | str | Path | None = None,
    device: str | torch.device | None = None,
    hooks: Sequence[Hook] = (),
    from_step: int | None = None,
    overwrite: bool = False,
) -> TrainResult:
    """Trains a config, as `segkit train` does.

    Args:
        cfg: a config file, or its sections.
        work_dir: the run's folder; work_dirs/<config name> by default.
        resume: True goes on from the folder's last.pt, a path from that checkpoint; "auto" goes on where there is a
            last.pt, and else begins.
        device: "cpu", "cuda", "cuda:1"; a GPU where there is one by default.
        hooks: observers beside those of the config and of every run.
        from_step: class steps: the step to begin with, from the checkpoint of the step before.
        overwrite: whether a run that lies in the folder is replaced, once the new one has passed all checks.

    Raises:
        ConfigError: the config is wrong, or the folder holds a run that is neither resumed nor overwritten, or one that
            still lives; nothing was trained.
        DataError: a file of the data cannot be used.
        CheckpointError: the checkpoint to go on from cannot be read or does not fit.
        NonFiniteLoss: a loss became NaN or infinite; the message names step and files.
    """
    if isinstance(hooks, Hook) or not all(isinstance(hook, Hook) for hook in hooks):
        raise ConfigError(f"hooks = {hooks!r}: must be a list of objects that derive from segkit.engine.hooks.Hook")
    sections = checked(cfg)
    check_sections(sections)
    if resume and from_step is not None:
        raise ConfigError("--resume and --from-step: a resumed run goes on where it stopped; give one of them")
    if resume and overwrite:
        raise ConfigError("--resume and --overwrite: a resumed run goes on in its folder; give one of them")
    target = setup.pick_device(device)
    folder = run_folder(work_dir, sections.file)
    timeout = LoopSettings(**(sections.get("loop") or {})).process_timeout
    with joined(target, timeout, sections):
        return run_training(sections, folder, target, hooks, Start(resume, from_step, overwrite))


def check_data(
    cfg: str | Path | dict,
    *,
    resume: bool = False,
    from_step: int | None = None,
    device: str | torch.device | None = None,
) -> None:
    """Checks config and data without training, as `segkit train --check` does.

    All masks are read, and a dry run builds everything once and makes one optimizer step with a small batch in memory.
    Prints a report of each data section, and a line for the dry run.

    Args:
        cfg: a config file, or its sections.
        resume: whether the run would go on from a checkpoint.
        from_step: class steps: the step it would begin with. A later step needs the model of the one before, and is not
            tried.
        device: of the dry run, as of `train`.

    Raises:
        ConfigError: the config is wrong.
        DataError: the data has errors; the message lists them.
    """
    sections = checked(cfg)
    check_sections(sections)
    check_init(sections, resumes=resume)
    runner, datasets = build_runner(sections), setup.DataSets()
    print_reports(preflight(sections, runner, datasets, stage=from_step, resumes=resume))
    if not from_step:
        print(dry_run(sections, runner, datasets, device=setup.pick_device(device)), flush=True)


def checked(cfg: str | Path | dict, options: Sequence[str] = ()) -> Config:
    """Loads a config where it is a file, and checks it against every constructor that it names."""
    if isinstance(cfg, str | Path):
        loaded = load_config(cfg, tuple(options))
    elif not isinstance(cfg, dict):
        raise ConfigError(f"cfg = {cfg!r}: must be a config file or a dict of its sections")
    else:
        loaded = Config(copy.deepcopy(dict(cfg)), getattr(cfg, "file", ""), dict(getattr(cfg, "origins", {})))
        for option in options:
            set_option(loaded, loaded.origins, option)
    check(loaded)
    return loaded


def evaluate(
    model: Network | str | Path | Sequence[str | Path],
    config: str | Path | dict | None = None,
    *,
    split: str = "test",
    sets: Sequence[str] = (),
    tta: bool = False,
    slide: bool = False,
    protocols: Sequence[str] = (),
    device: str | torch.device | None = None,
    options: Sequence[str] = (),
    out: str | Path | None = None,
    show: str | Path | None = None,
    show_count: int = 50,
    per_image: str | Path | None = None,
    probabilities: str | Path | None = None,
    predictions: str | Path | None = None,
    annotations: str | Path | None = None,
    page: str | Path | PageRequest | None = None,
    clicks: Literal["ideal", "real"] | None = None,
    analysis: AnalysisRequest | None = None,
    trust: bool = False,
    say: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Scores a model on the test data of its config, as `segkit test` does.

    Args:
        model: a checkpoint, several that predict together (see load_ensemble), or a model of load_model.
        config: in place of the config that the checkpoint holds.
        split: "test" or "val"; "val" stands in for a missing `test`.
        sets: names of the test sets to score where the config has several; all by default.
        tta: mean over scales 0.75, 1, 1.25 and mirrored images, where the config has no TTA of its own.
        slide: sliding window of inference.crop, or of the size of the training crop.
        protocols: class steps: conventions under each of which the model is scored; () for that of the config.
        device, trust: as of `train` and `load_model`; a model stays where it is.
        options: "a.b=value" that win over the config.
        out, show, show_count: JSON file for the scores, folder for pictures, and pictures at most.
        per_image: CSV file for the scores of each image, the worst first; of several test sets NAME_SET.csv.
        probabilities: folder for ID.npz with the probabilities of each image.
        predictions: folder for the predictions, as `segkit predict` writes them.
        annotations: COCO JSON file that gives predictions of instances and segments the ids of images and categories.
        page: HTML file with scores, plots and the worst images; it needs no other files.
        clicks: of click models, "ideal", or "real" (ideal and realistic ones, compared in "robustness"); None as set.
        analysis: intervals, groups of images and calibration, which the scores then hold under "analysis".
        say: takes the tables as text, each as soon as its set is scored, and switches a progress bar on; print, say.

    Returns:
        Scores in percent, ready for JSON; of several named test sets a dict of them by name.

    Raises:
        ConfigError, CheckpointError, DataError: as the message says.
    """
    _check_request(model, split)
    files = checked_files(out, show, show_count, per_image, probabilities, predictions, annotations)
    target = model.mean.device if isinstance(model, Network) else setup.pick_device(device)
    network = _loaded(model, config, target, options, trust=trust)
    cfg = network.config
    need_sections(cfg, (split if cfg.get(split) else "val",))
    given = [] if isinstance(model, Network) else _paths(model)
    with joined(target, LoopSettings(**(cfg.get("loop") or {})).process_timeout, cfg):
        for part in networks_of(network):
            part.config["inference"] = with_switches(part.config, tta=tta, slide=slide, say=say)
        chosen = with_clicks(cfg, by_protocol(chosen_sets(test_sections(cfg, split), sets), protocols), clicks)
        sheet = None if page is None else ResultPage(page, len(chosen))
        results = score_sets(network, chosen, split, files, say, sheet, analysis)
        _say_scores(cfg, {name or type_of_set(chosen[name]): one for name, one in results.items()}, given, out, say)
        results |= compare_groups(results, files.out, say) if clicks == "real" else {}
        if sheet is not None:
            sheet.write(network, runner_of(network), given[0] if len(given) == 1 else None, say)
        return results[""] if list(results) == [""] else results


def _say_scores(
    cfg: dict, named: dict[str, dict], given: list[Path], out: str | Path | None, say: Callable[[str], None] | None
) -> None:
    if dist.is_main() and say is not None:
        _say(build_runner(cfg).report(named, Path(out or "metrics.json"), given[0].stem if given else "model"), say)


def _loaded(
    model: Network | str | Path | Sequence[str | Path],
    config: str | Path | dict | None,
    device: torch.device,
    options: Sequence[str],
    *,
    trust: bool,
) -> Network:
    if isinstance(model, Network):
        return model
    return load_ensemble(_paths(model), config, device, options, trust=trust)


def _say(text: str, say: Callable[[str], None]) -> None:
    if text:
        say(text)


def _paths(model: str | Path | Sequence[str | Path]) -> list[Path]:
    return [Path(path) for path in ([model] if isinstance(model, str | Path) else model)]


def _check_request(model: object, split: str) -> None:
    is_list = isinstance(model, list | tuple) and model and all(isinstance(path, str | Path) for path in model)
    if not is_list and not isinstance(model, Network | str | Path):
        name = type(model).__name__
        raise ConfigError(
            f"model = {name}: must be a checkpoint's file or a model of load_model or result.model, or a list of files"
        )
    if split not in ("test", "val"):
        raise ConfigError(f"split = {split!r}: must be 'test' or 'val'")


def predict(model: Network, image: ImageInput, runner: Runner | None = None) -> Prediction:
    """Predicts one image.

    The model's config says how (transforms of `test`, section `inference`); a model without one sees the whole image.

    Args:
        model: of load_model or load_ensemble.
        image: a file, read as the model's data set reads its own; a picture of Pillow; or an array [H,W,C], uint8 or
            float in 0..255, RGB ([H,W] is a grey image).
        runner: of build_runner, to save its construction for many images.

    Returns:
        A prediction at the image's size, as numpy arrays: "labels" [H,W], or the instances found.

    Raises:
        ValueError: an array has another shape, type or range than the model's images; the message says how to convert
            it.
        DataError: the file cannot be read, or pixels are NaN or infinite and the model's data set has no `nodata`.
    """
    return predict_array(model, inputs_of(model).convert(image), runner)


def click_predictor(model: Network, **options: Any) -> ClickPredictor:
    """Answers clicks on an image with masks: `p.set_image(image)`, `p.click(y, x)`, `p.undo()`, `p.mask`.

    Args:
        model: a click model in evaluation mode, as of load_model, on any device.
        options: fields of ClickInference (zoom, flip, brs, limit, clicks_limit, ...) over those of the model's own
            section inference.clicks.

    Raises:
        ConfigError: the model takes no clicks, an option is unknown, or a transform of section `test` moves pixels.
    """
    names = [field.name for field in fields(ClickInference)]
    for name in options:
        if name not in names:
            raise ConfigError(f"click_predictor has no option '{name}'{did_you_mean(name, names)}")
    cfg = getattr(model, "config", None) or {}
    clicks = (cfg.get("inference") or {}).get("clicks") or {}
    transforms = transforms_of_test(cfg, needs_stored=True)
    return ClickPredictor(model, ClickInference(**{**clicks, **options}), transforms)
