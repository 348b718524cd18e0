"""Runs one trial of a sweep in a process of its own, and keeps its record."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from segkit.runners.sweeping import Trial

OUTPUT = "output.txt"
"""What a trial prints, in its folder."""

LOOK_EVERY = 0.5
"""Seconds between two looks at the scores of a trial that may be stopped early."""


def run_trial(
    trial: "Trial",
    command: Sequence[str],
    gpu: str,
    at: str,
    is_hopeless: "Callable[[Trial], bool] | None" = None,
) -> int:
    """Runs a trial that has not finished in a process of its own.

    Args:
        trial: whose record is kept.
        command: that trains it.
        gpu: number that it may see alone, "" for all.
        at: its place among the others, "1/4".
        is_hopeless: looks at the scores so far and says whether the trial is stopped early; None lets each one finish.

    Returns:
        The exit code, 0 for a trial that was stopped early; 130 for one that the user stopped.
    """
    title = f"trial {at}  {' '.join(trial.options)}"
    if trial.status in ("finished", "pruned"):
        print(f"{title}  {trial.status} before", flush=True)
        return 0
    print(f"{title}{f'  GPU {gpu}' if gpu else ''}", flush=True)
    trial.status, start, path = "running", time.perf_counter(), Path(trial.folder) / OUTPUT
    trial.save()
    env = os.environ | ({"CUDA_VISIBLE_DEVICES": gpu} if gpu else {})
    with open(path, "w", encoding="utf-8") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=env)
        try:
            code = _wait(process, trial, is_hopeless)
        except KeyboardInterrupt:
            process.wait()
            code = 130
    trial.seconds = time.perf_counter() - start
    trial.take_result()
    score = "" if trial.score is None else f"  {trial.monitor} {trial.score:.2f}"
    if code and trial.pruned_at is not None:
        trial.status, code = "pruned", 0
        print(f"{title}{score}  pruned at step {trial.pruned_at}  {trial.seconds:.0f} s", flush=True)
    elif code not in (0, 130):
        lines = path.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        trial.status, trial.error = "failed", lines[-1] if lines else f"exit code {code}"
        print(f"{title}  failed: {trial.error} (more in {path})", file=sys.stderr, flush=True)
    elif code == 0:
        trial.status, trial.pruned_at = "finished", None
        print(f"{title}{score}  {trial.seconds:.0f} s", flush=True)
    trial.save()
    return code


def _wait(process: subprocess.Popen, trial: "Trial", is_hopeless: "Callable[[Trial], bool] | None") -> int:
    """Returns the exit code; a hopeless trial is asked to save its step and end."""
    while is_hopeless is not None and trial.pruned_at is None:
        try:
            return process.wait(LOOK_EVERY)
        except subprocess.TimeoutExpired:
            trial.take_result()
        if trial.scores and is_hopeless(trial):
            trial.pruned_at = int(trial.scores[-1][0])
            process.terminate()
    return process.wait()
