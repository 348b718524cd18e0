"""The library in six functions: load_config, train, evaluate, load_model, predict, click_predictor."""

import copy
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from segkit import dist
from segkit.config import Config, dump, load_config, merged, set_option
from segkit.data.statistics import asks_for_statistics
from segkit.engine import checkpoint, setup
from segkit.engine.evaluate import evaluate as score
from segkit.engine.hooks import Hook, in_order, standard_hooks
from segkit.engine.loop import Loop
from segkit.engine.preflight import preflight, print_reports
from segkit.files import write_whole
from segkit.models.bases import Network
from segkit.registry import (
    HOOKS,
    RUNNERS,
    TRANSFORMS,
    ConfigError,
    build,
    build_model,
    did_you_mean,
    without_start_weights,
)
from segkit.runners.base import Runner
from segkit.runners.interactive.predictor import ClickPredictor
from segkit.schema import check, need_sections
from segkit.settings import ClickInference, InferenceSettings
from segkit.types import Batch, Meta, Prediction, Sample

__all__ = [
    "TrainResult",
    "build_model",
    "build_runner",
    "check_data",
    "click_predictor",
    "evaluate",
    "load_config",
    "load_model",
    "predict",
    "train",
]

MASKS_LOOKED_AT = 50
"""Masks of each section that are read before training; `segkit train --check` reads all."""


@dataclass(frozen=True)
class TrainResult:
    """What a training gave.

    Attributes:
        folder: of the last stage: checkpoints, log and pictures.
        step: optimizer steps that the last stage has done.
        is_finished: False where the run was stopped; train(..., resume=True) goes on.
        best: best value of `monitor`, in percent; None where nothing was scored.
        monitor: name of the score that best.pt goes by.
        model: the trained model in evaluation mode, its moving average where there is one.
    """

    folder: Path
    step: int
    is_finished: bool
    best: float | None
    monitor: str
    model: Network

    @property
    def last_checkpoint(self) -> Path:
        """The checkpoint of the last step."""
        return self.folder / "last.pt"

    @property
    def best_checkpoint(self) -> Path | None:
        """The checkpoint of the best score, None where nothing was scored."""
        return self.folder / "best.pt" if self.best is not None else None


def train(
    cfg: str | Path | dict,
    work_dir: str | Path | None = None,
    *,
    resume: bool | str | Path | None = None,
    device: str | torch.device | None = None,
    hooks: Sequence[Hook] = (),
    from_step: int | None = None,
) -> TrainResult:
    """Trains a config, as `segkit train` does.

    Args:
        cfg: a config file, or its sections.
        work_dir: the run's folder; work_dirs/<config name> by default.
        resume: True goes on from the folder's last.pt, a path from that checkpoint.
        device: "cpu", "cuda", "cuda:1"; a GPU where there is one by default.
        hooks: observers beside those of the config and of every run.
        from_step: class steps: the step to begin with, from the checkpoint of the step before.

    Raises:
        ConfigError: the config is wrong; nothing was trained.
        DataError: a file of the data cannot be used.
        CheckpointError: the checkpoint to go on from cannot be read or does not fit.
        NonFiniteLoss: a loss became NaN or infinite; the message names step and files.
    """
    sections = checked(cfg)
    _check_training(sections)
    if resume and from_step is not None:
        raise ConfigError("--resume and --from-step: a resumed run goes on where it stopped; give one of them")
    target = setup.pick_device(device)
    folder = run_folder(work_dir, sections.file)
    dist.start(target)
    try:
        return _train(sections, folder, target, hooks, resume, from_step)
    finally:
        dist.stop()


def _train(
    cfg: Config,
    folder: Path,
    device: torch.device,
    hooks: Sequence[Hook],
    resume: bool | str | Path | None,
    from_step: int | None,
) -> TrainResult:
    """The training itself; a function of its own, so that the loop is gone when the process group ends."""
    loop = _build_loop(cfg, folder, device, hooks, resume, from_step)
    loop.fit()
    loop.model = loop.raw_model  # a wrapped model would keep the process group
    model = cast(Network, loop.eval_model.eval())
    model.config, model.classes = Config(loop.stage_cfg, cfg.file), list(loop.dataset.classes)
    model.palette = [list(color) for color in loop.dataset.palette]
    return TrainResult(loop.folder, loop.step, not loop.is_stopping, loop.best, loop.settings.monitor, model)


def _build_loop(
    cfg: Config,
    folder: Path,
    device: torch.device,
    hooks: Sequence[Hook],
    resume: bool | str | Path | None,
    from_step: int | None,
) -> Loop:
    """The loop of a run, its data checked and its checkpoint loaded."""
    datasets, runner = setup.DataSets(), build_runner(cfg)
    path = _resume_path(resume, folder)
    print_reports(preflight(cfg, runner, datasets, limit=MASKS_LOOKED_AT, stage=from_step, resumes=path is not None))
    extra = [*(build(row, HOOKS, f"hooks.{i}") for i, row in enumerate(cfg.get("hooks", ()))), *hooks]
    replaced = {type(hook) for hook in extra}
    standard = [hook for hook in standard_hooks() if type(hook) not in replaced]
    state = None if path is None else checkpoint.read(path)
    first = runner.first_stage if from_step is None else from_step
    loop = Loop(
        cfg,
        runner,
        work_dir=folder,
        device=device,
        hooks=in_order([*standard, *extra, *runner.hooks()]),
        stage=first if state is None else state.get("stage", 0),
        datasets=datasets,
    )
    if state is not None and path is not None:
        loop.load_state_dict(state, path)
    if dist.is_main():
        # class weights by name are numbers from here on, where all stages share the losses
        losses = loop.stage_cfg["losses"] if len(loop.stages) == 1 else cfg["losses"]
        write_whole(folder / "config.py", dump({**cfg, "losses": losses}))
        _say_start(loop, path)
    return loop


def _say_start(loop: Loop, path: Path | None) -> None:
    """Prints the head of the log: what trains, on what, where; at most twenty lines with the pre-flight's."""
    from segkit import __version__

    parameters = sum(p.numel() for p in loop.raw_model.parameters())
    model = loop.cfg["model"]
    names = [section.get("type", "") for section in (model.get("backbone") or {}, model.get("head") or {})]
    amp, batch = loop.settings.amp, loop.data_settings.batch_size
    validation = f", {len(loop.val.dataset):,} to validate" if loop.val else ""
    print(f"segkit {__version__}: {' + '.join(filter(None, names)) or model.get('type')}, {parameters:,} parameters")
    print(f"data: {type(loop.dataset).__name__}, {len(loop.dataset):,} images to train on{validation}")
    print(
        f"steps: {loop.total_steps:,} of {batch} x {loop.settings.accumulate} x {dist.world_size()} images, "
        f"amp {amp}, {loop.device}"
    )
    if loop.init_report:
        print(f"init: {loop.init_report}")
    if path is not None:
        print(f"resumed: {path} at step {loop.step:,}")
    print(f"folder: {loop.work_dir}", flush=True)


def check_data(cfg: str | Path | dict, *, resume: bool = False, from_step: int | None = None) -> None:
    """Checks config and data without training, as `segkit train --check` does: all masks are read.

    Prints a report of each data section.

    Args:
        cfg: a config file, or its sections.
        resume: whether the run would go on from a checkpoint.
        from_step: class steps: the step it would begin with.

    Raises:
        ConfigError: the config is wrong.
        DataError: the data has errors; the message lists them.
    """
    sections = checked(cfg)
    _check_training(sections)
    runner = build_runner(sections)
    print_reports(preflight(sections, runner, setup.DataSets(), stage=from_step, resumes=resume))


def _check_training(cfg: Config) -> None:
    need_sections(cfg, ("train", "losses", "optimizer"))
    asks_for_statistics(cfg["losses"])
    asks_for_statistics((cfg.get("runner") or {}).get("losses") or [], "runner.losses")


def _resume_path(resume: bool | str | Path | None, folder: Path) -> Path | None:
    if not resume:
        return None
    if resume is not True and resume != "last":
        return Path(resume)
    files = [*folder.glob("last.pt"), *folder.glob("*/last.pt")]
    if not files:
        raise ConfigError(f"--resume: {folder} holds no last.pt; start without --resume, or name a checkpoint")
    return max(files, key=lambda file: file.stat().st_mtime)


def run_folder(work_dir: str | Path | None, config: str) -> Path:
    """Makes the folder of a run and tries to write to it, so that a long run does not end in an error.

    Args:
        work_dir: the folder; None for work_dirs/<name of the config file>.
        config: the config file, "" where the sections came without one.
    """
    folder = Path(work_dir) if work_dir else Path("work_dirs") / (Path(config.rpartition(":")[2]).stem or "run")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise ConfigError(f"--work-dir {folder}: cannot be written ({error.strerror}); choose another") from error
    return folder


def checked(cfg: str | Path | dict, options: Sequence[str] = ()) -> Config:
    """Loads a config where it is a file, and checks it against every constructor that it names."""
    if isinstance(cfg, str | Path):
        loaded = load_config(cfg, tuple(options))
    else:
        loaded = Config(copy.deepcopy(dict(cfg)), getattr(cfg, "file", ""), dict(getattr(cfg, "origins", {})))
        for option in options:
            set_option(loaded, loaded.origins, option)
    check(loaded)
    return loaded


def build_runner(cfg: dict) -> Runner:
    """Builds the runner of a config, "Semantic" where the section `runner` does not name one."""
    runner: Runner = build({"type": "Semantic", **(cfg.get("runner") or {})}, RUNNERS, "runner")
    runner.inference = InferenceSettings(**(cfg.get("inference") or {}))
    return runner


def evaluate(
    model: Network | str | Path,
    config: str | Path | dict | None = None,
    *,
    split: str = "test",
    sets: Sequence[str] = (),
    tta: bool = False,
    slide: bool = False,
    device: str | torch.device | None = None,
    options: Sequence[str] = (),
    out: str | Path | None = None,
    show: str | Path | None = None,
    show_count: int = 50,
    say: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Scores a model on the test data of its config, as `segkit test` does.

    Args:
        model: a checkpoint, or a model of load_model.
        config: in place of the config that the checkpoint holds.
        split: "test" or "val"; "val" stands in for a missing `test`.
        sets: names of the test sets to score where the config has several; all by default.
        tta: mean over scales 0.75, 1, 1.25 and mirrored images, where the config has no TTA of its own.
        slide: sliding window of inference.crop, or of the size of the training crop.
        device: as of `train`; a model stays where it is.
        options: "a.b=value" that win over the config.
        out: JSON file for the scores.
        show: folder for pictures.
        show_count: pictures at most.
        say: takes the tables as text, each as soon as its set is scored, and switches a progress bar on; print, say.

    Returns:
        The scores in percent, ready for JSON; of several named test sets a dict of them by name.

    Raises:
        ConfigError, CheckpointError, DataError: as the message says.
    """
    target = model.mean.device if isinstance(model, Network) else setup.pick_device(device)
    dist.start(target)
    try:
        network = model if isinstance(model, Network) else load_model(config, model, target, tuple(options))
        cfg = network.config
        need_sections(cfg, (split if cfg.get(split) else "val",))
        cfg["inference"] = with_switches(cfg, tta=tta, slide=slide)
        parts = chosen_sets(test_sections(cfg, split), sets)
        metrics = setup.build_metrics(cfg.get("metrics", []))
        results = {}
        for name, section in parts.items():
            runner = build_runner(config_of_set(cfg, section))
            pictures = None if show is None else Path(show) / name
            at = f"{split}.{name}" if name else split
            data = setup.build_evaluation(section, at, target)
            results[name] = _score(network, runner, data, metrics, pictures, show_count, name, say)
        scores = results[""] if list(results) == [""] else results
        if dist.is_main():
            if out is not None:
                write_whole(out, json.dumps(scores, indent=1) + "\n")
            if say is not None:
                named = {name or _type_of_set(parts[name]): result for name, result in results.items()}
                title = "model" if isinstance(model, Network) else Path(model).stem
                if text := build_runner(cfg).report(named, Path(out or "metrics.json"), title):
                    say(text)
        return scores
    finally:
        dist.stop()


def _type_of_set(section: dict) -> str:
    return section["dataset"]["type"].rpartition(":")[2]


def _score(
    model: Network,
    runner: Runner,
    data: setup.Evaluation,
    metrics: list,
    pictures: Path | None,
    show_count: int,
    name: str,
    say: Callable[[str], None] | None,
) -> dict[str, Any]:
    """Scores one test set, draws its pictures and says its table."""
    cfg, device = model.config, model.mean.device
    dtype = setup.amp_dtype(cfg.get("loop", {}).get("amp", "off") if device.type == "cuda" else "off", device)
    shower = None if pictures is None else runner.show(pictures, data.dataset, show_count)
    images = -(-len(data.dataset) // dist.world_size())
    observers = [*([_Progress(images)] if say is not None else []), *([shower] if shower else [])]
    scores = score(runner, model, data, metrics, device=device, dtype=dtype, hooks=observers)
    picture = shower.finish(metrics, scores) if shower else None
    if dist.is_main() and say is not None:
        say((f"{name}\n" if name else "") + runner.table(scores))
        if picture is not None:
            say(f"picture: {picture}")
    return scores


class _Progress(Hook):
    """A bar on a terminal."""

    def __init__(self, total: int):
        from tqdm import tqdm

        self.bar = tqdm(total=total, unit="image", disable=None if dist.is_main() else True, leave=False)

    def after_batch(self, loop: Loop | None, predictions: Sequence[Prediction], batch: Batch) -> None:
        self.bar.update(len(predictions))


def test_sections(cfg: dict, split: str) -> dict[str, dict]:
    """Returns the data sections of a split by name, "" for a single set. `val` stands in for a missing `test`."""
    section = cfg.get(split) or cfg["val"]
    return {"": section} if "dataset" in section else dict(section)


def chosen_sets(sections: dict[str, dict], names: Sequence[str]) -> dict[str, dict]:
    """Returns the test sets of these names, all without names; ConfigError for a name that the config does not have."""
    for name in names:
        if name not in sections:
            raise ConfigError(f"--sets {name}: the config names {', '.join(filter(None, sections)) or 'no sets'}")
    return {name: section for name, section in sections.items() if not names or name in names}


def config_of_set(cfg: dict, section: dict) -> dict:
    """Returns the config with the `inference` of a test set merged over the section `inference`."""
    return {**cfg, "inference": merged(cfg["inference"], section.get("inference") or {})}


def with_switches(cfg: dict, *, tta: bool, slide: bool) -> dict[str, Any]:
    """Returns section `inference` with TTA and sliding window switched on.

    The window is inference.crop, or the size of the last training crop.
    """
    inference = dict(cfg.get("inference") or {})
    if tta:
        inference.setdefault("tta", {"scales": (0.75, 1.0, 1.25), "flip": True})
    if slide:
        rows = (cfg.get("train") or {}).get("transforms", [])
        crops = [row["size"] for row in rows if "Crop" in row["type"] and "size" in row]
        if "crop" not in inference and not crops:
            raise ConfigError("--slide: set inference.crop = (height, width); the training has no crop to take it from")
        inference["mode"] = "slide"
        height, width = inference.setdefault("crop", tuple(crops[-1]) if crops else ())
        inference.setdefault("stride", (max(height * 2 // 3, 1), max(width * 2 // 3, 1)))
    return inference


def load_model(
    config: str | Path | dict | None,
    path: str | Path | None = None,
    device: str | torch.device = "cpu",
    options: Sequence[str] = (),
) -> Network:
    """Loads a trained model in evaluation mode: `load_model("best.pt")`, or `load_model("config.py", "weights.pth")`.

    The moving average is loaded where the checkpoint has one. The model carries `config`, `classes` and `palette`.

    Args:
        config: a config file, loaded sections, or None for the config inside the checkpoint. With one argument alone it
            is the checkpoint.
        path: .pt, .pth or .safetensors: a checkpoint of segkit, a published file of another project whose names a key
            map matches with the config's model one to one, or an official file of RITM, whose own description of its
            network replaces the config's section `model`.
        device: where the model goes.
        options: "a.b=value" that win over the config.

    Raises:
        CheckpointError: the file cannot be read or does not fit the model.
        ConfigError: the config is wrong.
    """
    if path is None:
        if not isinstance(config, str | Path):
            raise ConfigError("load_model: give the checkpoint, or a config and a checkpoint")
        config, path = None, config
    file = Path(path)
    content = checkpoint.read_any(file)
    cfg = resolve(config, content, file, options)
    model = build_model(without_start_weights(cfg["model"]))
    checkpoint.load_fitting(model, content.get("ema", content["model"]), file)
    model.config, model.classes, model.palette = cfg, content.get("classes"), content.get("palette")
    has_channels_last = (cfg.get("loop") or {}).get("channels_last", False)
    layout = torch.channels_last if has_channels_last else torch.preserve_format
    return model.to(device, memory_format=layout).eval()  # type: ignore[call-overload]


def resolve(
    config: str | Path | dict | None, content: dict[str, Any], path: str | Path, options: Sequence[str] = ()
) -> Config:
    """Returns the checked config of a checkpoint.

    A published file that describes its network (content["source"]) is right about it, whatever section `model` the
    given config has.

    Args:
        config: the config to use, None for the one inside.
        content: of the checkpoint.
        path: its file, for messages.
        options: "a.b=value" that win.
    """
    late = tuple(options)
    if isinstance(config, str | Path):
        cfg = load_config(config, tuple(options))
        late = ()
    else:
        inner = content.get("config") if config is None else config
        if not inner:
            raise checkpoint.CheckpointError(f"{path}: holds no config; name the config file it was trained with")
        cfg = Config(copy.deepcopy(dict(inner)), str(path))
    if "source" in content:
        cfg["model"] = copy.deepcopy(content["config"]["model"])
        late = late or tuple(option for option in options if option.startswith("model."))
    for option in late:
        set_option(cfg, cfg.origins, option)
    check(cfg)
    return cfg


@torch.inference_mode()
def predict(model: Network, image: np.ndarray, runner: Runner | None = None) -> Prediction:
    """Predicts one image.

    The model's config says how (transforms of `test`, section `inference`); a model without one sees the whole image.

    Args:
        model: of load_model.
        image: uint8 or float [H,W,C] in 0..255, RGB.
        runner: of build_runner, to save its construction for many images.

    Returns:
        A prediction at the image's size, as numpy arrays: "labels" [H,W], or the instances found.
    """
    cfg = getattr(model, "config", None) or {}
    runner = runner or build_runner(cfg)
    meta = Meta(id="image", path="image", size=image.shape[:2])
    sample = Sample(image=image, meta=meta)
    rng = np.random.default_rng(0)
    for row in ((cfg.get("test") or cfg.get("val")) or {}).get("transforms", []):
        sample = build(row, TRANSFORMS, "test.transforms")(sample, rng)
    pixels = torch.from_numpy(np.ascontiguousarray(sample["image"])).permute(2, 0, 1)[None]
    valid = sample["image"].shape[:2]
    batch = Batch(image=pixels.to(model.mean.device), meta=[Meta(**{**sample["meta"], "valid": valid})])
    prediction: Any = runner.predict(model, batch)[0]
    arrays = {key: v.cpu().numpy() if isinstance(v, torch.Tensor) else v for key, v in prediction.items()}
    return cast(Prediction, arrays)


def click_predictor(model: Network, **options: Any) -> ClickPredictor:
    """Answers clicks on an image with masks: `p.set_image(image)`, `p.click(y, x)`, `p.undo()`, `p.mask`.

    Args:
        model: a click model in evaluation mode, as of load_model, on any device.
        options: fields of ClickInference (zoom, flip, brs, limit, clicks_limit, ...) over those of the model's own
            section inference.clicks.

    Raises:
        ConfigError: the model takes no clicks, or an option is unknown.
    """
    names = [field.name for field in fields(ClickInference)]
    for name in options:
        if name not in names:
            raise ConfigError(f"click_predictor has no option '{name}'{did_you_mean(name, names)}")
    section = (getattr(model, "config", None) or {}).get("inference") or {}
    return ClickPredictor(model, ClickInference(**{**(section.get("clicks") or {}), **options}))
