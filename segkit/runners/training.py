"""One training from the checked config to its result: data check, hooks, checkpoint to go on from, head of the log."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch

from segkit import dist
from segkit.config import PACKAGED, Config
from segkit.convert.hub import is_hub_name
from segkit.data.statistics import asks_for_statistics
from segkit.engine import checkpoint, resume, setup
from segkit.engine.folder import clear, held, refuse_used
from segkit.engine.hooks import Hook, in_order, standard_hooks
from segkit.engine.loop import Loop
from segkit.engine.preflight import preflight, print_reports
from segkit.engine.shard_state import STATE, folders
from segkit.engine.sharded_checkpoint import read_state
from segkit.engine.world import check_data, say_idle
from segkit.files import write_whole
from segkit.models.bases import Network
from segkit.readers.python_config import dump
from segkit.readers.shard_folder import is_shard_folder
from segkit.registry import HOOKS, ConfigError, build, did_you_mean, with_contents
from segkit.runners.base import build_runner
from segkit.runners.loading import load_model
from segkit.schema import need_sections

MASKS_LOOKED_AT = 50
"""Masks of each section that are read before training; `segkit train --check` reads all."""


@dataclass(frozen=True)
class TrainResult:
    """What a training gave.

    Attributes:
        folder: of the last stage: checkpoints, log and pictures.
        step: optimizer steps that the last stage has done.
        is_finished: False where the run was stopped; train(..., resume=True) goes on.
        has_trained: False where a resumed run had no step left.
        best: best value of `monitor`, in percent; None where nothing was scored.
        monitor: name of the score that best.pt goes by; None without a validation.
        model: the trained model in evaluation mode, its moving average where there is one.
    """

    folder: Path
    step: int
    is_finished: bool
    has_trained: bool
    best: float | None
    monitor: str | None
    model: Network = field(repr=False)

    @property
    def last_checkpoint(self) -> Path:
        """The checkpoint of the last step: of a sharded training that was stopped a folder, else a file."""
        return newest(self.folder) or self.folder / "last.pt"

    @property
    def best_checkpoint(self) -> Path | None:
        """The checkpoint of the best score, None where nothing was scored."""
        return self.folder / "best.pt" if self.best is not None else None


class Start(NamedTuple):
    """How a run begins.

    Attributes:
        resume: True or "last" goes on from the folder's last.pt, a path from that checkpoint; "auto" goes on where
            there is a last.pt, and else begins.
        from_step: class steps: the step to begin with; None for the runner's first.
        overwrite: whether a run in the folder is replaced.
    """

    resume: bool | str | Path | None = None
    from_step: int | None = None
    overwrite: bool = False

    @property
    def is_auto(self) -> bool:
        """Whether the folder decides how the run begins."""
        return self.resume == "auto"


def run_training(cfg: Config, folder: Path, device: torch.device, hooks: Sequence[Hook], start: Start) -> TrainResult:
    """Trains a run whose folder and device are known; the folder is locked meanwhile.

    A function of its own, so that the loop is gone when the process group ends.

    Raises:
        ConfigError: the folder holds a run that is neither resumed nor overwritten, or one that lives.
    """
    if isinstance(cfg.get("model"), dict):
        cfg = Config({**cfg, "model": with_contents(cfg["model"])}, cfg.file, cfg.origins)
    # a run that begins with a later class step needs what the steps before have left in the folder
    replaces = start.overwrite or start.from_step is not None
    with held(folder, resumes=bool(start.resume), overwrites=replaces):
        loop = _build_loop(cfg, folder, device, hooks, start)
        begun = loop.stage_number, loop.step
        try:
            loop.fit()
        except BaseException:
            if not start.resume and loop.stage_number == 0 and loop.step == 0 and dist.is_main():
                (folder / "config.py").unlink(missing_ok=True)  # nothing was trained, and the folder is free again
            raise
    loop.model = loop.raw_model  # a wrapped model would keep the process group
    saved = None if loop.shards is None else newest(loop.folder)
    # the model of a sharded run lies in parts, which cannot be used once the processes part
    model = loop.eval_model.eval() if saved is None else load_model(Config(loop.stage_cfg, cfg.file), saved, device)
    model.config, model.classes = Config(loop.stage_cfg, cfg.file), list(loop.dataset.classes)
    model.palette = [list(color) for color in loop.dataset.palette]
    return TrainResult(
        loop.folder,
        loop.step,
        is_finished=not loop.is_stopping,
        has_trained=(loop.stage_number, loop.step) != begun,
        best=loop.best,
        monitor=None if loop.monitor is None else loop.monitor.name,
        model=model,
    )


def _build_loop(cfg: Config, folder: Path, device: torch.device, hooks: Sequence[Hook], start: Start) -> Loop:
    """The loop of a run, its data checked and its checkpoint loaded."""
    datasets, runner = setup.DataSets(), build_runner(cfg)
    runner.folder = folder
    path = None if start.resume in (None, False, True, "last", "auto") else Path(str(start.resume))
    state = None
    if path is not None:
        path, state = found_state(lambda: path)  # before the data, which may take long
    if not start.is_auto:
        check_init(cfg, resumes=bool(start.resume))
    stages = runner.stages(cfg, datasets) if start.resume else []
    if start.resume and path is None:
        names = [stage.name for stage in stages]
        path, state = found_state(lambda: _last_checkpoint(folder, names, is_needed=not start.is_auto))
    if start.is_auto:
        check_init(cfg, resumes=state is not None)
    if state is not None and path is not None:
        resume.check_state(state, path, len(stages))
        if start.is_auto:
            cfg = Config(resume.with_images_of(cfg, state), cfg.file, cfg.origins)
        resume.compare(cfg | stages[state["stage"]].overrides, state, path)
    reports = preflight(cfg, runner, datasets, limit=MASKS_LOOKED_AT, stage=start.from_step, resumes=state is not None)
    print_reports(reports)
    extra = [*(build(row, HOOKS, f"hooks.{i}") for i, row in enumerate(cfg.get("hooks", ()))), *hooks]
    replaced = {type(hook) for hook in extra}
    standard = [hook for hook in standard_hooks() if type(hook) not in replaced]
    first = runner.first_stage if start.from_step is None else start.from_step
    loop = Loop(
        cfg,
        runner,
        work_dir=folder,
        device=device,
        hooks=in_order([*standard, *extra, *runner.hooks()]),
        stage=first if state is None else state["stage"],
        datasets=datasets,
        resumes=state is not None,
    )
    check_data(loop)
    say_idle("train", len(loop.dataset))
    if loop.val is not None:
        say_idle("val", len(loop.val.dataset))
    notes: list[str] = []
    if state is not None and path is not None:
        notes = loop.load_state_dict(state, path)
        is_other = path.resolve() not in {p.resolve() for p in (loop.folder / "last.pt", *folders(loop.folder))}
        if dist.gather_objects(is_other)[0]:  # links may differ between machines
            loop.saved_step = -1  # of this run nothing is saved yet
    else:
        _make_room(loop, start)
    if dist.is_main():
        if loop.step < loop.total_steps or state is None:
            # class weights by name are numbers from here on, where all stages share the losses
            losses = loop.stage_cfg["losses"] if len(loop.stages) == 1 else cfg["losses"]
            write_whole(folder / "config.py", dump({**cfg, "losses": losses}))
        _say_start(loop, path, notes)
    return loop


def found_state(find: Callable[[], Path | None]) -> tuple[Path | None, dict[str, Any] | None]:
    """Finds and reads the checkpoint to go on from; on several machines the newest that one of them has.

    A machine without it need not share a file system with one that has it: the checkpoint is sent to it.

    Args:
        find: returns the file, None for no file.

    Raises:
        ConfigError, CheckpointError: no machine has one that can be read.
    """
    if len(dist.nodes()) < 2:
        path = find()
        return path, None if path is None else _state_of(path)
    path, state, error = None, None, None
    if dist.local_rank() == 0:
        try:
            path = find()
            state = None if path is None else _state_of(path)
        except (ConfigError, checkpoint.CheckpointError) as raised:
            error = raised
    offers = dist.gather_objects((None if state is None else (state["stage"], state["step"]), error))
    able = [rank for rank, (offer, _) in enumerate(offers) if offer is not None]
    if not able:
        for _, refusal in offers:
            if refusal is not None:
                raise refusal
        return None, None
    best = max(able, key=lambda rank: (offers[rank][0], -rank))
    return cast(tuple[Path, dict[str, Any]], dist.broadcast_object((path, state), best))


def _state_of(path: Path) -> dict[str, Any]:
    state = read_state(path) if is_shard_folder(path) else checkpoint.read(path)
    resume.check_state(state, path)
    return state


def _make_room(loop: Loop, start: Start) -> None:
    """Removes the run that a new one replaces; of class steps those from the first one on that is trained."""
    folders = [loop.work_dir / stage.name for stage in loop.stages[loop.stage_number :]]
    refusal = ""
    if dist.is_main():
        if start.from_step is None:
            # what a run left that was killed before its first checkpoint is in nobody's way
            checkpoints = [file for place in (loop.work_dir, *folders) for file in place.glob("*.pt")]
            if start.is_auto and checkpoints:
                refusal = f"--resume auto: {checkpoints[0]} is there, and no last.pt to go on from; move it away"
            elif start.is_auto or start.overwrite:
                clear([loop.work_dir, *folders])
        elif start.overwrite:
            clear(folders)
        else:
            try:
                refuse_used(loop.work_dir, folders)
            except ConfigError as error:
                refusal = str(error)
    if refusal := dist.gather_objects(refusal)[0]:
        raise ConfigError(refusal)


def _say_start(loop: Loop, path: Path | None, notes: Sequence[str]) -> None:
    """Prints the head of the log: what trains, on what, where; at most twenty lines with the pre-flight's.

    notes: on what differs from the checkpoint's run.
    """
    from segkit import __version__

    parameters = sum(p.numel() for p in loop.raw_model.parameters())
    trained = sum(p.numel() for p in loop.raw_model.parameters() if p.requires_grad)
    shown = f"{parameters:,} parameters{f', of which {trained:,} train' if trained < parameters else ''}"
    model = loop.cfg["model"]
    names = [section.get("type", "") for section in (model.get("backbone") or {}, model.get("head") or {})]
    amp, batch = setup.precision(loop.settings.amp, loop.device), loop.data_settings.batch_size
    validation = f", {len(loop.val.dataset):,} to validate" if loop.val else ""
    print(f"segkit {__version__}: {' + '.join(filter(None, names)) or model.get('type')}, {shown}")
    print(f"data: {type(loop.dataset).__name__}, {len(loop.dataset):,} images to train on{validation}")
    print(
        f"steps: {loop.total_steps:,} of {batch} x {loop.settings.accumulate} x {dist.world_size()} images, "
        f"{amp}, {loop.device}{'' if loop.shards is None else ', the model shared out among the processes'}"
    )
    for note in loop.raw_model.notes:
        print(f"note: {note}")
    if loop.init_report:
        print(f"init: {loop.init_report}")
    if path is not None:
        print(f"resumed: {path} at step {loop.step:,}")
        for note in notes:
            print(note)
        if 0 < loop.settings.patience <= loop.unimproved:
            print(
                f"nothing is left to train: the last {loop.unimproved} evaluations were no better than the best; raise "
                "loop.patience to go on"
            )
        elif loop.step >= loop.total_steps and loop.stage_number == len(loop.stages) - 1:
            print(
                f"nothing is left to train: the checkpoint is at step {loop.step:,}, the run ends with step "
                f"{loop.total_steps:,}; raise loop.steps (or loop.epochs) to go on"
            )
    print(f"folder: {loop.work_dir}", flush=True)


def check_sections(cfg: Config) -> None:
    need_sections(cfg, ("train", "losses", "optimizer"))
    asks_for_statistics(cfg["losses"])
    asks_for_statistics((cfg.get("runner") or {}).get("losses") or [], "runner.losses")


def check_init(cfg: dict, *, resumes: bool = False) -> None:
    """Checks that the file of section `init` is there, which a new run reads after its data.

    Args:
        cfg: the sections.
        resumes: whether the run goes on from a checkpoint, and reads no such file.

    Raises:
        ConfigError: there is no such file.
    """
    path = (cfg.get("init") or {}).get("path")
    is_there = path is not None and (is_hub_name(path) or is_shard_folder(path) or Path(path).is_file())
    if path is not None and not resumes and not is_there:
        kind = "is a folder, not a checkpoint" if Path(path).is_dir() else "no such checkpoint"
        near = did_you_mean(Path(path).name, [file.name for file in Path(path).parent.glob("*")])
        raise ConfigError(f"init.path = '{path}': {kind}{near}")


def _last_checkpoint(folder: Path, stages: Sequence[str], *, is_needed: bool = True) -> Path | None:
    """The newest checkpoint of the run in a folder: its own last.pt or that of one of its class steps, or their parts.

    A folder of several runs holds those of others, and none of them is taken. Where none is needed, None stands for
    no file.
    """
    own = [path for name in dict.fromkeys(["", *stages]) if (path := newest(folder / name)) is not None]
    if own:
        return max(own, key=_time)
    if not is_needed:
        return None
    others = sorted(folder.glob("*/last.pt"))
    if others:
        names = ", ".join(map(str, others[:5])) + (", ..." if len(others) > 5 else "")
        raise ConfigError(
            f"--resume: {folder} holds no last.pt of its own, and those in its folders are of other runs ({names}); "
            "name the folder of the run as --work-dir"
        )
    raise ConfigError(f"--resume: {folder} holds no last.pt; start without --resume, or name a checkpoint")


def newest(folder: Path) -> Path | None:
    """Returns the checkpoint of a stage that was written last: last.pt, or a folder of a sharded training."""
    found = [*folders(folder)[-1:], *([folder / "last.pt"] if (folder / "last.pt").is_file() else [])]
    return max(found, key=_time, default=None)


def _time(path: Path) -> float:
    return (path / STATE if path.is_dir() else path).stat().st_mtime


def run_folder(work_dir: str | Path | None, config: str) -> Path:
    """Makes the folder of a run and tries to write to it, on the main process, so that no long run ends in an error.

    Args:
        work_dir: the folder; None for work_dirs/<name of the config file>.
        config: the config file, "" where the sections came without one.
    """
    folder = Path(work_dir) if work_dir else Path("work_dirs") / (Path(config.removeprefix(PACKAGED)).stem or "run")
    if not dist.is_main_process():
        return folder  # the main process writes, and other machines may have no such disk
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise ConfigError(f"--work-dir {folder}: cannot be written ({error.strerror}); choose another") from error
    return folder
