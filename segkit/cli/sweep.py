"""Trains a config with several values: segkit sweep CONFIG --grid a.b=1,2 c=3,4 | --random a.b=uniform(0,1) --trials N.

Each trial has a folder of its own. An interrupted sweep goes on where it stopped, and trials that have finished are
kept. sweep.csv, sweep.json and sweep.png compare them.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from queue import SimpleQueue
from threading import Lock
from typing import TYPE_CHECKING, Any

from segkit.cli import common
from segkit.registry import ConfigError

if TYPE_CHECKING:
    from segkit.runners.sweeping import Space, Trial

OUTPUT = "output.txt"
"""What a trial prints, in its folder."""


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
    if args.grid and (args.trials is not None or args.optuna):
        raise ConfigError("--trials, --optuna: a grid has its own trials; they belong to --random")
    count = 10 if args.trials is None else args.trials
    if count < 1:
        raise ConfigError(f"--trials {count}: must be 1 or more")
    spaces = [sweeping.parse_space(text, is_grid=bool(args.grid)) for text in args.grid or args.random]
    twice = next((s.path for i, s in enumerate(spaces) if s.path in [other.path for other in spaces[:i]]), None)
    if twice:
        raise ConfigError(f"{twice}: is swept twice; give all of its values at once")
    gpus = _gpus(args)
    root = Path(args.work_dir or Path("work_dirs") / f"sweep_{Path(args.config.removeprefix('segkit:')).stem}")
    need_writable(root / "sweep.json", "choose another --work-dir")
    if args.optuna:
        _check(args, [option for space in spaces for option in ([f"{space.path}={v}"] for v in space.ends())])
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


def run_trial(trial: "Trial", command: Sequence[str], gpu: str, at: str) -> int:
    """Runs a trial that has not finished in a process of its own.

    Args:
        trial: whose record is kept.
        command: that trains it.
        gpu: number that it may see alone, "" for all.
        at: its place among the others, "1/4".

    Returns:
        The exit code; 130 for one that was stopped.
    """
    title = f"trial {at}  {' '.join(trial.options)}"
    if trial.status == "finished":
        print(f"{title}  finished before", flush=True)
        return 0
    print(f"{title}{f'  GPU {gpu}' if gpu else ''}", flush=True)
    trial.status, start, path = "running", time.perf_counter(), Path(trial.folder) / OUTPUT
    trial.save()
    env = os.environ | ({"CUDA_VISIBLE_DEVICES": gpu} if gpu else {})
    with open(path, "w", encoding="utf-8") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=env)
        try:
            code = process.wait()
        except KeyboardInterrupt:
            process.wait()
            code = 130
    trial.seconds = time.perf_counter() - start
    trial.take_result()
    if code not in (0, 130):
        lines = path.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        trial.status, trial.error = "failed", lines[-1] if lines else f"exit code {code}"
        print(f"{title}  failed: {trial.error} (more in {path})", file=sys.stderr, flush=True)
    elif code == 0:
        trial.status = "finished"
        score = "" if trial.score is None else f"  {trial.monitor} {trial.score:.2f}"
        print(f"{title}{score}  {trial.seconds:.0f} s", flush=True)
    trial.save()
    return code


def _by_optuna(args: argparse.Namespace, spaces: "Sequence[Space]", count: int, root: Path) -> "list[Trial]":
    """Runs trials whose values Optuna chooses; with one seed it chooses the same again, and finished ones are kept."""
    from segkit.runners import sweeping

    try:
        import optuna  # type: ignore[import-not-found]
    except ImportError as error:
        raise ConfigError("--optuna: needs the package optuna: pip install 'segkit[optuna]'") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=args.seed))
    trials: list[Trial] = []
    for number in range(count):
        asked = study.ask()
        options = [f"{space.path}={suggest(asked, space)}" for space in spaces]
        trial = sweeping.trial_of(options, root, _check(args, [options])[0])
        trials.append(trial)
        if run_trial(trial, _command(args, trial), args.gpus or "", f"{number + 1}/{count}") == 130:
            break
        _report(trials, root)
        if trial.score is None:
            study.tell(asked, state=optuna.trial.TrialState.FAIL)
        else:
            study.tell(asked, -trial.score if trial.better == "higher" else trial.score)
    return trials


def suggest(asked: Any, space: "Space") -> str:
    """Asks a trial of Optuna for a value, as text."""
    if space.kind == "choice":
        return str(asked.suggest_categorical(space.path, list(space.values)))
    if space.kind == "int":
        return str(asked.suggest_int(space.path, int(space.low), int(space.high)))
    return repr(asked.suggest_float(space.path, space.low, space.high, log=space.kind == "loguniform"))


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
