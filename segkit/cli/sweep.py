"""Trains a config with several values: segkit sweep CONFIG --grid a.b=1,2 c=3,4 | --random a.b=uniform(0,1) --trials N.

Each trial has a folder of its own. An interrupted sweep goes on where it stopped, and trials that have finished are
kept. sweep.csv, sweep.json and sweep.png compare them.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from queue import SimpleQueue
from threading import Lock
from typing import TYPE_CHECKING

from segkit.cli import common
from segkit.cli.trial_process import run_trial
from segkit.registry import ConfigError

if TYPE_CHECKING:
    from segkit.runners.sweeping import Space, Trial


def main(argv: list[str] | None = None) -> int:
    """Runs `segkit sweep`; returns the exit code: 1 where a trial failed, 130 after Ctrl-C."""
    arguments = common.parser("sweep", __doc__ or "")
    arguments.add_argument("config", help=common.CONFIG_HELP)
    arguments.add_argument("--grid", nargs="+", metavar="a.b=1,2", help="every combination of these values")
    arguments.add_argument(
        "--random",
        nargs="+",
        metavar="a.b=SPACE",
        help="drawn values: uniform(0,1), loguniform(1e-5,1e-2), int(1,8), or one of 1,2,3",
    )
    arguments.add_argument("--trials", type=int, metavar="N", help="trials of --random; default 10")
    arguments.add_argument("--seed", type=int, default=0, help="of --random; default 0")
    arguments.add_argument(
        "--optuna", action="store_true", help="choose the values of --random by Optuna, from the scores so far"
    )
    arguments.add_argument(
        "--prune",
        action="store_true",
        help="with --optuna: stop a trial whose best score so far is worse than the median of the trials before it at "
        "the same step, once five have finished; default: every trial finishes",
    )
    arguments.add_argument("--gpus", metavar="0,1", help="one trial at a time on each of these GPUs")
    arguments.add_argument("--work-dir", help="folder of the sweep; default work_dirs/sweep_<config name>")
    arguments.add_argument("--device", help="cpu, cuda, cuda:1; default: a GPU where there is one")
    common.add_options(arguments)
    return common.run(_sweep, arguments.parse_args(argv))


def _sweep(args: argparse.Namespace) -> int:
    from segkit.files import need_writable
    from segkit.runners import sweeping

    if bool(args.grid) == bool(args.random):
        raise ConfigError("segkit sweep: give either --grid a.b=1,2 or --random a.b=uniform(0,1)")
    if args.prune and not args.optuna:
        raise ConfigError("--prune: Optuna decides which trials are stopped; give --optuna as well")
    if args.grid and (args.trials is not None or args.optuna):
        raise ConfigError("--trials, --optuna: a grid has its own trials; they belong to --random")
    count = 10 if args.trials is None else args.trials
    if not 1 <= count <= sweeping.MOST_TRIALS:
        raise ConfigError(f"--trials {count}: must be from 1 to {sweeping.MOST_TRIALS:,}")
    if args.seed < 0:
        raise ConfigError(f"--seed {args.seed}: must be 0 or more")
    spaces = [sweeping.parse_space(text, is_grid=bool(args.grid)) for text in args.grid or args.random]
    twice = next((s.path for i, s in enumerate(spaces) if s.path in [other.path for other in spaces[:i]]), None)
    if twice:
        raise ConfigError(f"{twice}: is swept twice; give all of its values at once")
    gpus = _gpus(args)
    root = Path(args.work_dir or Path("work_dirs") / f"sweep_{Path(args.config.removeprefix('segkit:')).stem}")
    need_writable(root / "sweep.json", "choose another --work-dir")
    if args.optuna:
        configs = _check(args, [option for space in spaces for option in ([f"{space.path}={v}"] for v in space.ends())])
        _check_scores(args, configs)
        trials = _by_optuna(args, spaces, count, root)
    else:
        wanted = sweeping.grid(spaces) if args.grid else sweeping.random_trials(spaces, count, args.seed)
        configs = _check(args, wanted)
        trials = [sweeping.trial_of(options, root, cfg) for options, cfg in zip(wanted, configs)]
        _run_all(args, trials, gpus, root)
    _report(trials, root)
    print(f"\n{sweeping.table(sweeping.ordered(trials))}\n{root / 'sweep.csv'}")
    if any(trial.status == "running" for trial in trials):
        print("stopped; the same command goes on")
        return 130
    return 1 if any(trial.status == "failed" for trial in trials) else 0


def _gpus(args: argparse.Namespace) -> list[str]:
    gpus = [gpu.strip() for gpu in args.gpus.split(",")] if args.gpus else [""]
    if args.gpus and (args.device or not all(gpu.isdigit() for gpu in gpus) or len(set(gpus)) < len(gpus)):
        raise ConfigError(f"--gpus {args.gpus}: must be different numbers such as 0,1, and goes without --device")
    if args.optuna and len(gpus) > 1:
        raise ConfigError("--optuna: each trial follows from the scores before it; name one GPU, or leave it out")
    return gpus


def _check(args: argparse.Namespace, trials: Sequence[Sequence[str]]) -> list[dict]:
    """Checks the config of every trial before the first one runs; returns the configs."""
    configs: list[dict] = []
    for options in trials:
        try:
            configs.append(common.load_checked(args.config, [*args.cfg_options, *options]))
        except ConfigError as error:
            raise ConfigError(f"trial {' '.join(options)}, before any has run: {error}") from error
    return configs


def _check_scores(args: argparse.Namespace, configs: Sequence[dict]) -> None:
    """Raises a ConfigError where trials would have no score that Optuna could learn from, or none before their end."""
    for cfg in configs:
        if not cfg.get("val"):
            raise ConfigError(
                f"--optuna: {args.config} has no section `val`, so that no trial has a score; add it, or leave "
                "--optuna out"
            )
        if args.prune and not (cfg.get("loop") or {}).get("eval_every"):
            raise ConfigError(
                "--prune: loop.eval_every = 0 scores a trial at its end alone; set it by --cfg-options "
                "loop.eval_every=N, the steps between two evaluations"
            )


def _run_all(args: argparse.Namespace, trials: "list[Trial]", gpus: list[str], root: Path) -> None:
    """Runs the trials that have not finished, one at a time on each GPU."""
    free: SimpleQueue[str] = SimpleQueue()
    for gpu in gpus:
        free.put(gpu)
    is_stopped: list[bool] = []
    lock = Lock()

    def run(number: int) -> None:
        if is_stopped:
            return
        gpu = free.get()
        try:
            if run_trial(trials[number], _command(args, trials[number]), gpu, f"{number + 1}/{len(trials)}") == 130:
                is_stopped.append(True)
            with lock:
                _report(trials, root)
        finally:
            free.put(gpu)

    with ThreadPoolExecutor(len(gpus)) as pool:
        for job in [pool.submit(run, number) for number in range(len(trials))]:
            try:
                job.result()
            except KeyboardInterrupt:
                is_stopped.append(True)  # the trials have the signal as well, and save their last step


def _command(args: argparse.Namespace, trial: "Trial") -> list[str]:
    options = [*args.cfg_options, *trial.options]
    return [sys.executable, "-m", "segkit.cli.trial", args.config, trial.folder, args.device or "", *options]


def _by_optuna(args: argparse.Namespace, spaces: "Sequence[Space]", count: int, root: Path) -> "list[Trial]":
    """Runs trials whose values Optuna chooses; each follows from the scores before it."""
    from segkit.cli.optuna_trials import OptunaStudy
    from segkit.runners import sweeping

    study = OptunaStudy(spaces, args.seed, is_pruning=args.prune)
    trials: list[Trial] = []
    for number in range(count):
        options = study.ask()
        trial = sweeping.trial_of(options, root, _check(args, [options])[0], keeps_pruned=args.prune)
        trials.append(trial)
        at = f"{number + 1}/{count}"
        if run_trial(trial, _command(args, trial), args.gpus or "", at, study.is_hopeless) == 130:
            break
        _report(trials, root)
        study.tell(trial)
    return trials


def _report(trials: "Sequence[Trial]", root: Path) -> None:
    """Writes sweep.json, sweep.csv and, of two scores and more, sweep.png."""
    from segkit.files import write_whole
    from segkit.runners import sweeping
    from segkit.runners.per_image import write_csv

    best_first = sweeping.ordered(trials)
    write_whole(root / "sweep.json", json.dumps([asdict(trial) for trial in best_first], indent=1) + "\n")
    write_csv(root / "sweep.csv", sweeping.rows_of(best_first))
    scored = [trial for trial in trials if trial.score is not None]
    if len(scored) > 1:
        from segkit.viz.plots import sweep_plot

        values = [dict(option.split("=", 1) for option in trial.options) for trial in scored]
        scores = [float(trial.score or 0.0) for trial in scored]
        sweep_plot(values, scores, root / "sweep.png", scored[0].monitor or "score")
