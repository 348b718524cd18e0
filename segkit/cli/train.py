"""Trains a config: python tools/train.py CONFIG [--resume] [--check] [--cfg-options a.b=value ...]."""

import argparse
import shlex
import sys
from pathlib import Path

from segkit.cli import common
from segkit.config import Config, dump


def main(argv: list[str] | None = None) -> int:
    """argv: arguments after the command -> exit code; 130 after Ctrl-C."""
    arguments = common.parser("train", __doc__ or "")
    arguments.add_argument("config", help="a .py or .yaml config file")
    arguments.add_argument("--work-dir", help="the run's folder; default work_dirs/<config name>")
    arguments.add_argument(
        "--resume",
        nargs="?",
        const="last",
        metavar="FILE",
        help="go on from the folder's last.pt, or from a checkpoint",
    )
    arguments.add_argument(
        "--from-step", type=int, metavar="K", help="class steps: begin with step K, from the checkpoint of step K - 1"
    )
    arguments.add_argument("--device", help="cpu, cuda, cuda:1; default: a GPU where there is one")
    arguments.add_argument("--check", action="store_true", help="check config and data, train nothing")
    common.add_options(arguments)
    return common.run(_train, arguments.parse_args(argv))


def _train(args: argparse.Namespace) -> int:
    cfg = common.load_checked(args.config, args.cfg_options)
    from segkit import dist
    from segkit.cli.preflight import needed_sections, preflight
    from segkit.data.statistics import asks_for_statistics
    from segkit.engine.setup import pick_device
    from segkit.registry import ConfigError

    needed_sections(cfg, ("train", "losses", "optimizer"))
    if args.resume is not None and args.from_step is not None:
        raise ConfigError("--resume and --from-step: a resumed run goes on where it stopped; give one of them")
    asks_for_statistics(cfg["losses"])
    asks_for_statistics((cfg.get("runner") or {}).get("losses") or [], "runner.losses")
    if args.check:
        return preflight(cfg, limit=0, stage=args.from_step, resumes=args.resume is not None)
    device = pick_device(args.device)
    folder = common.work_folder(args.work_dir, args.config)
    dist.start(device)
    try:
        if code := preflight(cfg, limit=50, stage=args.from_step, resumes=args.resume is not None):
            return code
        return _fit(args, cfg, folder, device)
    finally:
        dist.stop()


def _fit(args: argparse.Namespace, cfg: Config, folder: Path, device) -> int:
    from segkit import dist
    from segkit.api import build_runner
    from segkit.engine import checkpoint
    from segkit.engine.hooks import standard_hooks
    from segkit.engine.loop import Loop
    from segkit.registry import HOOKS, build

    common.resolve_losses(cfg)
    own = tuple(build(row, HOOKS, f"hooks.{i}") for i, row in enumerate(cfg.get("hooks", ())))
    replaced = {type(hook) for hook in own}
    hooks = tuple(hook for hook in standard_hooks() if type(hook) not in replaced) + own
    runner, path = build_runner(cfg), _resume_path(args.resume, folder)
    hooks = tuple(sorted((*hooks, *runner.hooks()), key=lambda hook: not getattr(hook, "adds_terms", False)))
    state = None if path is None else checkpoint.read(path)
    first = runner.first_stage if args.from_step is None else args.from_step
    stage = first if state is None else state.get("stage", 0)
    loop = Loop(cfg, runner, work_dir=folder, device=device, hooks=hooks, stage=stage)
    if state is not None:
        loop.load_state_dict(state, path)
    if dist.is_main():
        (folder / "config.py").write_text(dump(cfg))
        _say_start(loop, path)
    loop.fit()
    if loop.is_stopping:
        print(f"\nstopped after step {loop.step}; go on with:\n  {_resume_command()}", flush=True)
        return 130
    if dist.is_main():
        last = folder / loop.stage.name
        print(
            f"done: {last}/last.pt"
            + (f", best {loop.settings.monitor} {loop.best:.2f} in {last}/best.pt" if loop.best is not None else "")
        )
    return 0


def _resume_path(resume: str | None, folder: Path) -> Path | None:
    from segkit.registry import ConfigError

    if resume is None:
        return None
    if resume != "last":
        return Path(resume)
    files = [*folder.glob("last.pt"), *folder.glob("*/last.pt")]
    if not files:
        raise ConfigError(f"--resume: {folder} holds no last.pt; start without --resume, or name a checkpoint")
    return max(files, key=lambda file: file.stat().st_mtime)


def _resume_command() -> str:
    words = [word for word in sys.argv if word != "--resume"]
    return shlex.join([Path(sys.executable).name, *words, "--resume"])


def _say_start(loop, path: Path | None) -> None:
    """The head of the log: what trains, on what, where; at most twenty lines with the pre-flight's."""
    from segkit import __version__, dist

    parameters = sum(p.numel() for p in loop.raw_model.parameters())
    model = loop.cfg["model"]
    names = [part.get("type", "") for part in (model.get("backbone") or {}, model.get("head") or {})]
    amp, batch = loop.settings.amp, loop.data_settings.batch_size
    print(f"segkit {__version__}: {' + '.join(filter(None, names)) or model.get('type')}, {parameters:,} parameters")
    print(
        f"data: {type(loop.dataset).__name__}, {len(loop.dataset):,} images to train on"
        + (f", {len(loop.val[0]):,} to validate" if loop.val else "")
    )
    print(
        f"steps: {loop.total_steps:,} of {batch} x {loop.settings.accumulate} x {dist.world_size()} images, "
        f"amp {amp}, {loop.device}"
    )
    if loop.init_report:
        print(f"init: {loop.init_report}")
    if path is not None:
        print(f"resumed: {path} at step {loop.step:,}")
    print(f"folder: {loop.work_dir}", flush=True)
