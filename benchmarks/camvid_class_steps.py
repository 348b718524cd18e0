"""All methods for class steps on CamVid, several seeds: trains what is missing, and writes a table.

    SEGKIT_DATA=/data python benchmarks/camvid_class_steps.py work_dirs/steps [--seeds 0 1 2] [--methods dkd star ...]
        [--tasks 7-4 7-2-2 7-1] [--options loop.steps=100 ...] [--table]

The configs are those of configs/incremental/camvid, a run for each in OUT/seedN/CONFIG. A run that others begin with
(runner.start) comes before them. Started again, it goes on where it was broken off, inside a run, too. Each finished
run writes OUT/table.md anew; --table writes it and trains nothing.

The table: the last step's scores on CamVid's test images, old classes, new ones and all, and the mean of all over the
steps, mean and standard deviation over the seeds; seconds of the training steps of the first class step and of all
later ones, without evaluations; and how many parameters the last class step has trained.
"""

import argparse
import json
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1]))

from segkit.api import train
from segkit.config import load_config
from segkit.engine import checkpoint

CONFIGS = Path(__file__).parents[1] / "configs/incremental/camvid"
TASKS = ("7-4", "7-2-2", "7-1")
METHODS = {
    "finetune": "fine-tuning",
    "dft-star": "DFT* (frozen)",
    "mib": "MiB",
    "plop": "PLOP",
    "ewf-mib": "EWF on MiB",
    "ewf": "EWF on PLOP",
    "dkd": "DKD",
    "ssul": "SSUL",
    "ssul-m": "SSUL-M",
    "star": "STAR",
}
"""First part of a config's name -> name in the table."""

SCORES = {"old": "mIoU_old", "new": "mIoU_new", "all": "mIoU_all"}
TEST = ("val.dataset.split='test'",)
"""Validation is the score here: nothing is chosen by it."""


class Run(NamedTuple):
    """One training.

    Attributes:
        name: of the config.
        seed: of the run.
        options: for the config, beside those of every run.
    """

    name: str
    seed: int
    options: tuple[str, ...] = ()

    def folder(self, out: Path) -> Path:
        return out / f"seed{self.seed}" / self.name

    def load(self, out: Path) -> dict:
        """The config, whose start is the run of the same seed."""
        options, first = [*TEST, f"loop.seed={self.seed}", *self.options], self.first()
        if first is not None:
            options.append(f"runner.start={str(first.folder(out) / 'step0/last.pt')!r}")
        return load_config(CONFIGS / f"{self.name}.py", options)

    def first(self) -> "Run | None":
        """The run whose first step this one begins with, None for one that trains its own."""
        start = load_config(CONFIGS / f"{self.name}.py")["runner"].get("start")
        return None if start is None else self._replace(name=Path(start).parts[-3])


def in_order(runs: Sequence[Run]) -> list[Run]:
    """Each run once, behind the one that it begins with."""
    pairs = [run for chosen in runs for run in (chosen.first(), chosen) if run is not None]
    return list(dict.fromkeys(pairs))


def is_done(run: Run, out: Path) -> bool:
    """Whether all steps have scores."""
    file = run.folder(out) / "metrics.json"
    return file.exists() and len(json.loads(file.read_text())["steps"]) == num_steps(run.name)


def num_steps(name: str) -> int:
    """7-4 is a step and one more, 7-2-2 two more, 7-1 four."""
    return {"7-4": 2, "7-2-2": 3, "7-1": 5}[name.split("_")[1]]


def seconds_of(folder: Path) -> float:
    """Seconds of a stage's training steps, from its log."""
    total, before = 0.0, 0
    for line in (folder / "log.jsonl").read_text().splitlines():
        record = json.loads(line)
        if "seconds_per_step" in record:
            total += (record["step"] - before) * record["seconds_per_step"]
            before = record["step"]
    return total


def trained_in(folder: Path) -> int:
    """Numbers that a stage has changed, which are those that its optimizer keeps a mean gradient of."""
    state = checkpoint.read(folder / "last.pt")["optimizer"]["state"]
    return sum(values["exp_avg"].numel() for values in state.values())


def row(name: str, seeds: Sequence[int], out: Path) -> str | None:
    """A method's line of the table; None where no seed is done."""
    done = [run for run in (Run(name, seed) for seed in seeds) if is_done(run, out)]
    if not done:
        return None
    results = [json.loads((run.folder(out) / "metrics.json").read_text()) for run in done]
    cells = [spread([result["steps"][-1][key] for result in results]) for key in SCORES.values()]
    cells.append(spread([result["average"]["mIoU_all"] for result in results]))
    later = [f"step{number}" for number in range(1, num_steps(name))]
    first, rest = [], []
    for run in done:
        first.append(seconds_of((run.first() or run).folder(out) / "step0"))
        rest.append(sum(seconds_of(run.folder(out) / step) for step in later))
    trained = trained_in(done[-1].folder(out) / later[-1])
    cells += [f"{statistics.mean(first):,.0f}", f"{statistics.mean(rest):,.0f}", f"{trained:,}", str(len(done))]
    return f"| {METHODS[name.split('_')[0]]} | " + " | ".join(cells) + " |"


def spread(values: Sequence[float]) -> str:
    """Mean and standard deviation."""
    deviation = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.1f}{deviation}"


def write_table(args: argparse.Namespace) -> None:
    """Writes OUT/table.md: a part for each task."""
    heads = (*SCORES, "average of all", "first step, s", "later steps, s", "trained in the last step", "seeds")
    lines: list[str] = []
    for task in args.tasks:
        lines += [f"| {task}, mIoU of | " + " | ".join(heads) + " |", "|---" * (len(heads) + 1) + "|"]
        rows = (row(f"{method}_{task}", args.seeds, args.out) for method in args.methods)
        lines += [line for line in rows if line is not None] + [""]
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "table.md").write_text("\n".join(lines), encoding="utf-8")


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="folder of all runs and of table.md")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), choices=TASKS)
    parser.add_argument("--options", nargs="+", default=[], help="key=value for every config")
    parser.add_argument("--table", action="store_true", help="train nothing")
    args = parser.parse_args(argv)
    names = [f"{method}_{task}" for task in args.tasks for method in args.methods]
    runs = [Run(name, seed, tuple(args.options)) for seed in args.seeds for name in names]
    for run in () if args.table else in_order(runs):
        if not is_done(run, args.out):
            train(run.load(args.out), run.folder(args.out), resume="auto")
            write_table(args)
    write_table(args)
    print((args.out / "table.md").read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
