"""Trains a config: segkit train CONFIG [--resume] [--check] [--folds 5] [--cfg-options a.b=value ...]."""

import argparse
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from segkit.cli import common, folds
from segkit.registry import ConfigError


def main(argv: list[str] | None = None) -> int:
    """Runs `segkit train`; returns the exit code, 130 after Ctrl-C."""
    return common.run(_train, arguments().parse_args(argv))


def arguments() -> argparse.ArgumentParser:
    """Returns the parser of the command."""
    parser = common.parser("train", __doc__ or "")
    parser.add_argument("config", help=common.CONFIG_HELP)
    parser.add_argument("--work-dir", help="the run's folder; default work_dirs/<config name>")
    parser.add_argument(
        "--resume",
        nargs="?",
        const="last",
        metavar="FILE",
        help="go on from the folder's last.pt, or from a checkpoint; auto: where there is a last.pt, else begin",
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="replace the run that lies in the folder; refused without this"
    )
    parser.add_argument(
        "--from-step",
        type=int,
        metavar="K",
        help="class steps: begin with step K, from the checkpoint of step K - 1",
    )
    common.add_device(parser)
    parser.add_argument("--check", action="store_true", help="check config and data, train nothing")
    folds.add_arguments(parser)
    common.add_options(parser)
    return parser


def _train(args: argparse.Namespace) -> int:
    cfg = common.load_checked(args.config, args.cfg_options)
    from segkit import api, dist
    from segkit.engine import checkpoint

    if args.folds is not None:
        if folds.train_folds(cfg, folds.plan_of(args), args):
            return 0
        print(f"\nstopped; go on with:\n  {resume_command(sys.argv)}", flush=True)
        return 130
    if args.folds_by is not None:
        raise ConfigError(f"--folds-by {args.folds_by}: needs --folds K, the number of folds")
    if args.check:
        api.check_data(cfg, resume=args.resume not in (None, "auto"), from_step=args.from_step, device=args.device)
        return 0
    result = api.train(
        cfg,
        args.work_dir,
        resume=args.resume,
        device=args.device,
        from_step=args.from_step,
        overwrite=args.overwrite,
    )
    if not result.is_finished:
        if dist.is_main_process():
            print(f"\nstopped after step {result.step}; go on with:\n  {resume_command(sys.argv)}", flush=True)
        return 130
    if dist.is_main_process() and result.has_trained:
        best = result.best_checkpoint
        step = f" of step {checkpoint.read(best)['step']}" if best is not None and best.exists() else ""
        scored = "" if best is None else f", best {result.monitor} {result.best:.2f}{step} in {best}"
        print(f"done: {result.last_checkpoint}{scored}")
    return 0


def resume_command(words: Sequence[str]) -> str:
    """Returns the command that goes on with a run.

    Args:
        words: the command that began it, sys.argv.
    """
    kept: list[str] = []
    skips = False
    for word in words:
        name = word.partition("=")[0]
        if name in ("--resume", "--from-step", "--overwrite"):
            skips = name != "--overwrite" and "=" not in word  # its value is the next word, if it is none of its own
            continue
        is_value = skips and not word.startswith("-") and not common.is_config(word)
        skips = False
        if not is_value:
            kept.append(word)
    if "TORCHELASTIC_RUN_ID" in os.environ:
        return shlex.join(["torchrun", "...", "-m", "segkit.cli.main", *kept[1:], "--resume"])
    return shlex.join([Path(sys.executable).name, *kept, "--resume"])
