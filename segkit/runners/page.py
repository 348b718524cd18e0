"""The page that `segkit test` writes beside the scores: report.html, one file without network."""

import platform
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from segkit import __version__, dist
from segkit.config import Config, plain_values
from segkit.data.dataset import Dataset
from segkit.engine.config_values import values
from segkit.engine.monitor import USUAL
from segkit.engine.notify import observing
from segkit.engine.run_log import read_steps, read_training
from segkit.engine.worst import Worst
from segkit.files import shortened, write_whole
from segkit.metrics.base import Metric
from segkit.models.bases import Network
from segkit.readers.latency_table import machine_of
from segkit.runners.base import Runner
from segkit.types import Batch, Prediction, default_palette
from segkit.viz.page.glossary import direction
from segkit.viz.page.html import Markup
from segkit.viz.page.records import Facts, ScoredSet, WorstImages
from segkit.viz.page.sheet import page

if TYPE_CHECKING:
    from segkit.engine.loop import Loop

MOST_IMAGES = 20
"""Worst images of each test set."""

PICTURE_BYTES = 6_000_000
"""Of the pictures of all sets before they are written as text, which takes a third more."""

LONGEST_VALUE = 400
"""Letters of a value of the config."""


@dataclass(frozen=True)
class PageRequest:
    """A page to write.

    Attributes:
        path: of the HTML file.
        command: that scores again, "" for `segkit test` with the checkpoint alone.
    """

    path: Path
    command: str = ""


class ResultPage:
    """Takes in what a test finds, and writes the page on the main process.

    Args:
        page: HTML file, or more about it.
        num_sets: number of test sets, which share the room for pictures.
    """

    is_observer = True

    def __init__(self, page: str | Path | PageRequest, num_sets: int):
        self.request = page if isinstance(page, PageRequest) else PageRequest(Path(page))
        self.num_sets = num_sets
        self.sets: list[ScoredSet] = []
        self.metrics: Sequence[Metric] = ()

    def watch(self, name: str, runner: Runner, dataset: Dataset) -> "Watcher":
        """Returns what follows the evaluation of a test set."""
        return Watcher(self, name, dataset, runner.worst_images(dataset, MOST_IMAGES))

    def add(self, name: str, dataset: Dataset, metrics: Sequence[Metric], scores: dict, worst: WorstImages) -> None:
        """Takes the scores and the worst images of a test set; called on the main process."""
        self.metrics = metrics
        classes = tuple(map(str, dataset.classes))
        matrices = [matrix for metric in metrics if (matrix := metric.matrix()) is not None]
        self.sets.append(
            ScoredSet(
                name=name,
                classes=classes,
                palette=tuple(dataset.palette) or default_palette(len(classes)),
                scores=scores,
                main_scores=tuple(dict.fromkeys(_inside(m, m.main_score) for m in metrics if m.main_score)),
                lower_is_better=tuple(_inside(m, pattern) for m in metrics for pattern in m.lower_is_better or ()),
                matrix=matrices[0].cpu().numpy() if matrices else None,
                worst=within(worst, PICTURE_BYTES // self.num_sets),
            )
        )

    def attach(self, name: str, sections: Sequence[tuple[str, Markup]]) -> None:
        """Adds sections, title and content of each, to a test set that was added; called on the main process."""
        self.sets = [
            tested._replace(more=(*tested.more, *sections)) if tested.name == name else tested for tested in self.sets
        ]

    def write(self, model: Network, runner: Runner, checkpoint: Path | None, say: Callable[[str], None] | None) -> None:
        """Writes the page on the main process; a failure is a warning, since it costs no score.

        Args:
            model: that was scored.
            runner: of its config.
            checkpoint: its file, None for a model in memory.
            say: takes the line that names the page.
        """
        if not dist.is_main():
            return
        path = self.request.path
        with observing(self, path.name):
            text = page(self._facts(model, runner, checkpoint), self.sets)
            write_whole(path, text.encode("utf-8", "replace"))
            if say is not None:
                say(f"page: {path}")

    def _facts(self, model: Network, runner: Runner, checkpoint: Path | None) -> Facts:
        cfg = model.config if isinstance(model.config, Config) else Config(model.config or {})
        folder = None if checkpoint is None else checkpoint.parent
        title = (
            "Test of a model"
            if checkpoint is None
            else f"Test of {checkpoint.absolute().parent.name}/{checkpoint.name}"
        )
        monitor = self._monitor(cfg)
        is_lower = (cfg.get("loop") or {}).get("better") == "lower"
        is_lower |= any(direction(monitor, tested.lower_is_better) == "lower" for tested in self.sets)
        images = sum(tested.scores.get("images", 0) for tested in self.sets)
        names = ", ".join(tested.name for tested in self.sets)
        return Facts(
            title=title,
            subtitle=f"{names}: {images:,} images. Runner {type(runner).__name__}, {_now()}.",
            commands=[] if checkpoint is None else _commands(cfg, runner, checkpoint, self.request.command),
            config=[(at, _shown(value), origin) for at, value, origin in values(cfg)],
            metrics=[(repr(metric), (type(metric).__doc__ or "").strip().split("\n")[0]) for metric in self.metrics],
            machine=_machine(model),
            training=None if folder is None else read_training(folder, monitor, lower_is_better=is_lower),
            steps=() if folder is None else read_steps(folder.absolute()),
        )

    def _monitor(self, cfg: Config) -> str:
        """The score that chose best.pt, as engine.monitor names it."""
        main = [name for tested in self.sets for name in tested.main_scores]
        usual = USUAL if any(USUAL in tested.scores for tested in self.sets) else next(iter(main), "")
        return str((cfg.get("loop") or {}).get("monitor") or usual)


@dataclass
class Watcher:
    """Follows the evaluation of a test set for the page, see engine.pictures.Shower."""

    page: ResultPage
    name: str
    dataset: Dataset
    worst: Worst
    is_observer: bool = field(default=True, init=False)

    def after_batch(self, loop: "Loop | None", predictions: Sequence[Prediction], batch: Batch) -> None:
        """Rates the images of a batch."""
        self.worst.after_batch(loop, predictions, batch)

    def finish(self, metrics: list, scores: dict[str, Any]) -> None:
        """Hands everything to the page; called on every process."""
        worst = self.worst.result()
        if dist.is_main():
            self.page.add(self.name, self.dataset, metrics, scores, worst)


def within(worst: WorstImages, most: int) -> WorstImages:
    """Returns the worst images whose pictures have at most so many bytes, the worst first."""
    sizes = np.cumsum([sum(len(picture.data) for picture in card.pictures) for card in worst.cards])
    return worst._replace(cards=list(worst.cards)[: int((sizes <= most).sum())])


def _inside(metric: Metric, name: str) -> str:
    """A score of a metric, or a pattern of scores, as it stands among all scores."""
    return name if metric.section is None else f"{metric.section}.{name}"


def _commands(cfg: Config, runner: Runner, checkpoint: Path, test: str) -> list[tuple[str, str]]:
    """What a command does, and the command."""
    test = test or shlex.join(["segkit", "test", str(checkpoint)])
    usage = runner.usage.format(quoted=shlex.quote(str(checkpoint)), checkpoint=str(checkpoint))
    commands = [("Score again", test), ("Predict new images", usage)]
    folder = checkpoint.parent.parent if checkpoint.parent.name.startswith("step") else checkpoint.parent
    config = folder / "config.py"
    source = str(config) if config.is_file() else cfg.file
    if source and Path(source).suffix in (".py", ".yaml", ".yml"):
        again = f"work_dirs/{folder.absolute().name}_again"
        commands.append(("Train again", shlex.join(["segkit", "train", source, "--work-dir", again])))
        commands.append(("See the config", shlex.join(["segkit", "config", source])))
    return commands


def _machine(model: Network) -> list[tuple[str, str]]:
    device = str(model.mean.device)
    found = machine_of(device)
    return [
        ("segkit", __version__),
        ("torch", torch.__version__),
        ("numpy", np.__version__),
        ("Python", platform.python_version()),
        ("system", f"{platform.system()} {platform.release()} ({platform.machine()})"),
        ("device", f"{device}: {found['device']}"),
        ("threads", str(found["threads"])),
        ("processes", str(dist.world_size())),
        ("written", _now()),
    ]


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")


def _shown(value: Any) -> str:
    return shortened(repr(plain_values(value)), LONGEST_VALUE)
