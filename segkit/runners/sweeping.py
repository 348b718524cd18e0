"""Trials of a sweep: which values each takes, what is kept of them, and their table."""

import hashlib
import itertools
import json
import math
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any, NamedTuple, TypeAlias

import numpy as np

from segkit.constraints.check import annotations, fault
from segkit.constraints.named import Unbounded
from segkit.files import DataError, parse_json, read_text, write_whole
from segkit.readers.python_config import dump
from segkit.registry import ConfigError

RECORD = "trial.json"
"""File in the folder of a trial."""

RESULT = "result.json"
"""File that the training of a trial writes there."""

MOST_BYTES = 1 << 20
"""Of these files."""

MOST_LETTERS = 100
"""Of the name of a trial's folder."""

MOST_TRIALS = 10_000
"""Of a sweep."""

LARGEST = 1e18
"""End of a range at most: beyond it there are no whole numbers of 64 bits."""

DRAWN = re.compile(r"(loguniform|uniform|int)\(([^,()]+),([^,()]+)\)")
FORMS = "a.b=1,2,3, a.b=uniform(0,1), a.b=loguniform(1e-5,1e-2) or a.b=int(1,8)"


class Space(NamedTuple):
    """The values of one key.

    Attributes:
        path: of the key in the config.
        kind: "choice", "uniform", "loguniform" or "int".
        values: texts of a choice.
        low, high: of a range, both included.
    """

    path: str
    kind: str
    values: tuple[str, ...] = ()
    low: float = 0.0
    high: float = 0.0

    def draw(self, rng: np.random.Generator) -> str:
        """Draws a value as text."""
        if self.kind == "choice":
            return self.values[int(rng.integers(len(self.values)))]
        if self.kind == "int":
            return str(int(rng.integers(int(self.low), int(self.high) + 1)))
        if self.kind == "loguniform":
            return f"{math.exp(rng.uniform(math.log(self.low), math.log(self.high))):.6g}"
        return f"{rng.uniform(self.low, self.high):.6g}"

    def ends(self) -> tuple[str, ...]:
        """Returns the values that are checked before anything runs: all of a choice, the ends of a range."""
        if self.kind == "choice":
            return self.values
        return tuple(f"{int(v)}" if self.kind == "int" else f"{v:.6g}" for v in (self.low, self.high))


def parse_space(text: str, *, is_grid: bool) -> Space:
    """Reads "a.b=1,2" or "a.b=loguniform(1e-5,1e-2)"; commas inside brackets and quotes belong to a value.

    Raises:
        ConfigError: it has another form, a range is empty, or a range is meant for a grid.
    """
    path, equals, values = text.partition("=")
    flag = "--grid" if is_grid else "--random"
    if not path or not equals or not values:
        raise ConfigError(f"{flag} {text}: expected {FORMS}")
    found = DRAWN.fullmatch(values.replace(" ", ""))
    if found is None:
        return Space(path, "choice", tuple(_split(values)))
    if is_grid:
        raise ConfigError(f"--grid {text}: a grid has no end of such values; list them, or use --random with --trials")
    try:
        low, high = float(found[2]), float(found[3])
    except ValueError as error:
        raise ConfigError(f"{flag} {text}: {found[2]} and {found[3]} must be numbers") from error
    if not (abs(low) <= LARGEST and abs(high) <= LARGEST):  # NaN is in no range
        raise ConfigError(f"{flag} {text}: {found[2]} and {found[3]} must lie within {LARGEST:g} of 0")
    is_whole = found[1] != "int" or (low == int(low) and high == int(high))
    if not low < high or not is_whole or (found[1] == "loguniform" and low <= 0):
        raise ConfigError(
            f"{flag} {text}: the first number must be below the second, above 0 for loguniform, and both whole for int"
        )
    return Space(path, found[1], (), low, high)


def _split(text: str) -> list[str]:
    """The parts between commas that stand in no brackets and quotes."""
    parts, depth, quote = [""], 0, ""
    for letter in text:
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "'\"":
            quote = letter
        elif letter in "([{":
            depth += 1
        elif letter in ")]}":
            depth -= 1
        if letter == "," and not depth and not quote:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts]


def grid(spaces: Sequence[Space]) -> list[list[str]]:
    """Returns the options of every combination, the last key changing fastest. Doubles are left out.

    Raises:
        ConfigError: there are more than MOST_TRIALS.
    """
    spaces = [space._replace(values=tuple(dict.fromkeys(space.values))) for space in spaces]
    count = math.prod(len(space.values) for space in spaces)
    if count > MOST_TRIALS:
        raise ConfigError(f"--grid: {count:,} trials; a sweep has {MOST_TRIALS:,} at most, name fewer values")
    return [
        [f"{space.path}={value}" for space, value in zip(spaces, values)]
        for values in itertools.product(*(space.values for space in spaces))
    ]


def random_trials(spaces: Sequence[Space], count: int, seed: int) -> list[list[str]]:
    """Returns the options of `count` draws; the first ones stay the same where there are more. Doubles are left out."""
    drawn = []
    for number in range(count):
        rng = np.random.default_rng([seed, number])
        options = [f"{space.path}={space.draw(rng)}" for space in spaces]
        if options not in drawn:
            drawn.append(options)
    return drawn


Number: TypeAlias = Annotated[float, Unbounded()]
"""A number that may be infinite or NaN, as a score is where a training has gone wrong."""


@dataclass
class Trial:
    """One training of a sweep.

    Attributes:
        options: "a.b=value" of its swept keys.
        folder: of its run.
        config: checksum of its whole config.
        status: "waiting", "running", "finished", "pruned" or "failed".
        score: best value of `monitor`, None without one.
        monitor, better: the score's name, and "higher" or "lower".
        seconds: that it took.
        error: the last line that a failed one said.
        scores: step and score of each evaluation so far.
        pruned_at: step of the score for which it was stopped early, None for another one.
    """

    options: list[str]
    folder: str
    config: str
    status: str = "waiting"
    score: Number | None = None
    monitor: str | None = None
    better: str | None = None
    seconds: Number = 0.0
    error: str = ""
    scores: list[tuple[Number, Number]] = field(default_factory=list)
    pruned_at: int | None = None

    def save(self) -> None:
        """Writes the record into the trial's folder."""
        write_whole(Path(self.folder) / RECORD, json.dumps(asdict(self), indent=1) + "\n")

    def take_result(self) -> None:
        """Reads what the training has written."""
        path = Path(self.folder) / RESULT
        if path.is_file():
            result = parse_json(read_text(path, most=MOST_BYTES), path)
            names = {"score": "best", "monitor": "monitor", "better": "better", "scores": "scores"}
            found = {name: result.get(key) for name, key in names.items()} if isinstance(result, dict) else None
            if found is None or not _fits(found := found | {"scores": found["scores"] or []}):
                raise DataError(f"{path}: is no result of a trial; remove it, and start the same command again")
            for name, value in found.items():
                setattr(self, name, value)


def _fits(values: Any) -> bool:
    """Whether values that were read from a file have the types of Trial's fields."""
    hints, known = annotations(Trial), {entry.name for entry in fields(Trial)}
    return isinstance(values, dict) and all(
        name in known and fault(value, hints[name]) is None for name, value in values.items()
    )


def trial_of(options: list[str], root: Path, cfg: dict, *, keeps_pruned: bool = False) -> Trial:
    """Returns the trial of these options with what its folder keeps of it: one that has finished is not run again.

    Args:
        options: "a.b=value" of its swept keys.
        root: folder of the sweep.
        cfg: its whole config.
        keeps_pruned: whether one that was stopped early stays so; else it goes on.

    Raises:
        ConfigError: the folder holds a trial of another config.
    """
    folder = root / folder_name(options)
    path, digest = folder / RECORD, hashlib.sha256(dump(cfg).encode()).hexdigest()
    if not path.is_file():
        return Trial(options, str(folder), digest)
    values = parse_json(read_text(path, most=MOST_BYTES), path)
    if not _fits(values) or "config" not in values:
        raise DataError(f"{path}: is no record of a trial; remove it, or choose another --work-dir")
    kept = Trial(**{**values, "options": options, "folder": str(folder)})
    if kept.config != digest:
        raise ConfigError(
            f"{folder}: holds a trial of another config, which has changed since; choose another --work-dir, or take "
            "this folder away"
        )
    is_kept = kept.status == "finished" or (keeps_pruned and kept.status == "pruned")
    return kept if is_kept else Trial(options, str(folder), digest)


def folder_name(options: Sequence[str]) -> str:
    """Returns a folder's name that shows the options; a hash makes it unique where letters must be left out."""
    text = " ".join(options)
    name = re.sub(r"[^\w.=+,-]+", "_", text)
    if name == text.replace(" ", "_") and len(name) <= MOST_LETTERS:
        return name
    return f"{name[:MOST_LETTERS]}_{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def ordered(trials: Sequence[Trial]) -> list[Trial]:
    """Returns the trials, the best score first, then the scores of failed ones, then trials without a score."""
    sign = next((-1.0 if trial.better == "higher" else 1.0 for trial in trials if trial.better), 1.0)
    return sorted(trials, key=lambda t: (t.score is None, t.status == "failed", sign * (t.score or 0.0)))


def rows_of(trials: Sequence[Trial]) -> list[dict[str, Any]]:
    """Returns a row of the table for each trial."""
    rows = []
    has_pruned = any(trial.pruned_at is not None for trial in trials)
    for trial in trials:
        values = dict(option.split("=", 1) for option in trial.options)
        score = {trial.monitor or "score": trial.score}
        end = {"status": trial.status} | ({"pruned_at": trial.pruned_at} if has_pruned else {})
        rows.append(score | values | end | {"seconds": round(trial.seconds, 1), "error": trial.error})
    names = dict.fromkeys(name for row in rows for name in row if name != "score")
    name = next((trial.monitor for trial in trials if trial.monitor), "score")
    return [{name: trial.score, **{n: row.get(n) for n in names if n != name}} for trial, row in zip(trials, rows)]


def table(trials: Sequence[Trial]) -> str:
    """Formats the trials as text, in their order."""
    rows = rows_of(trials)
    names = [name for name in rows[0] if name != "error"]
    texts = [[_cell(row[name]) for name in names] for row in rows]
    widths = [max(len(name), *(len(line[i]) for line in texts)) for i, name in enumerate(names)]
    lines = ["  ".join(text.ljust(width) for text, width in zip(line, widths)).rstrip() for line in [names, *texts]]
    return "\n".join(lines)


def _cell(value: object) -> str:
    return "-" if value is None else f"{value:.2f}" if isinstance(value, float) else str(value)
