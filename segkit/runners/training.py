"""One training from the checked config to its result: data check, hooks, checkpoint to go on from, head of the log."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import torch

from segkit import dist
from segkit.config import PACKAGED, Config, dump
from segkit.data.statistics import asks_for_statistics
from segkit.engine import checkpoint, setup
from segkit.engine.folder import clear, held, refuse_used
from segkit.engine.hooks import Hook, in_order, standard_hooks
from segkit.engine.loop import Loop
from segkit.engine.preflight import preflight, print_reports
from segkit.files import write_whole
from segkit.models.bases import Network
from segkit.registry import HOOKS, ConfigError, build
from segkit.runners.base import build_runner
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
        best: best value of `monitor`, in percent; None where nothing was scored.
        monitor: name of the score that best.pt goes by; None without a validation.
        model: the trained model in evaluation mode, its moving average where there is one.
    """

    folder: Path
    step: int
    is_finished: bool
    best: float | None
    monitor: str | None
    model: Network = field(repr=False)

    @property
    def last_checkpoint(self) -> Path:
        """The checkpoint of the last step."""
        return self.folder / "last.pt"

    @property
    def best_checkpoint(self) -> Path | None:
        """The checkpoint of the best score, None where nothing was scored."""
        return self.folder / "best.pt" if self.best is not None else None


class Start(NamedTuple):
    """How a run begins.

    Attributes:
        resume: True or "last" goes on from the folder's last.pt, a path from that checkpoint.
        from_step: class steps: the step to begin with; None for the runner's first.
        overwrite: whether a run in the folder is replaced.
    """

    resume: bool | str | Path | None = None
    from_step: int | None = None
    overwrite: bool = False


def run_training(cfg: Config, folder: Path, device: torch.device, hooks: Sequence[Hook], start: Start) -> TrainResult:
    """Trains a run whose folder and device are known; the folder is locked meanwhile.

    A function of its own, so that the loop is gone when the process group ends.

    Raises:
        ConfigError: the folder holds a run that is neither resumed nor overwritten, or one that lives.
    """
    # a run that begins with a later class step needs what the steps before have left in the folder
    replaces = start.overwrite or start.from_step is not None
    with held(folder, resumes=bool(start.resume), overwrites=replaces):
        loop = _build_loop(cfg, folder, device, hooks, start)
        try:
            loop.fit()
        except BaseException:
            if not start.resume and loop.stage_number == 0 and loop.step == 0 and dist.is_main():
                (folder / "config.py").unlink(missing_ok=True)  # nothing was trained, and the folder is free again
            raise
    loop.model = loop.raw_model  # a wrapped model would keep the process group
    model = loop.eval_model.eval()
    model.config, model.classes = Config(loop.stage_cfg, cfg.file), list(loop.dataset.classes)
    model.palette = [list(color) for color in loop.dataset.palette]
    monitor = None if loop.monitor is None else loop.monitor.name
    return TrainResult(loop.folder, loop.step, not loop.is_stopping, loop.best, monitor, model)


def _build_loop(cfg: Config, folder: Path, device: torch.device, hooks: Sequence[Hook], start: Start) -> Loop:
    """The loop of a run, its data checked and its checkpoint loaded."""
    datasets, runner = setup.DataSets(), build_runner(cfg)
    path = _resume_path(start.resume, folder)
    resumes = path is not None
    reports = preflight(cfg, runner, datasets, limit=MASKS_LOOKED_AT, stage=start.from_step, resumes=resumes)
    print_reports(reports)
    extra = [*(build(row, HOOKS, f"hooks.{i}") for i, row in enumerate(cfg.get("hooks", ()))), *hooks]
    replaced = {type(hook) for hook in extra}
    standard = [hook for hook in standard_hooks() if type(hook) not in replaced]
    state = None if path is None else checkpoint.read(path)
    first = runner.first_stage if start.from_step is None else start.from_step
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
        if path.resolve() != (loop.folder / "last.pt").resolve():
            loop.saved_step = -1  # of this run nothing is saved yet
    else:
        _make_room(loop, start)
    if dist.is_main():
        # class weights by name are numbers from here on, where all stages share the losses
        losses = loop.stage_cfg["losses"] if len(loop.stages) == 1 else cfg["losses"]
        write_whole(folder / "config.py", dump({**cfg, "losses": losses}))
        _say_start(loop, path)
    return loop


def _make_room(loop: Loop, start: Start) -> None:
    """Removes the run that a new one replaces; of class steps those from the first one on that is trained."""
    folders = [loop.work_dir / stage.name for stage in loop.stages[loop.stage_number :]]
    refusal = ""
    if dist.is_main():
        if start.from_step is None:
            clear([loop.work_dir, *folders] if start.overwrite else [])
        elif start.overwrite:
            clear(folders)
        else:
            try:
                refuse_used(loop.work_dir, folders)
            except ConfigError as error:
                refusal = str(error)
    if refusal := dist.gather_objects(refusal)[0]:
        raise ConfigError(refusal)


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


def check_sections(cfg: Config) -> None:
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
    folder = Path(work_dir) if work_dir else Path("work_dirs") / (Path(config.removeprefix(PACKAGED)).stem or "run")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise ConfigError(f"--work-dir {folder}: cannot be written ({error.strerror}); choose another") from error
    return folder
