"""One trial of `segkit sweep` in a process of its own: python -m segkit.cli.trial CONFIG FOLDER DEVICE a.b=value ..."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segkit.cli import common
from segkit.engine.hooks import Hook
from segkit.files import parse_json, read_text, write_whole
from segkit.runners.sweeping import MOST_BYTES, RESULT

if TYPE_CHECKING:
    from segkit.engine.loop import Loop


class KeepScore(Hook):
    """Writes the best score so far, and that of each evaluation, after each evaluation.

    The single scores are left out where a run has several stages, whose scores cannot be compared.

    Args:
        folder: of the trial.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self._scores: list[list[float]] = []

    def before_stage(self, loop: "Loop") -> None:
        path = self.folder / RESULT
        kept = parse_json(read_text(path, most=MOST_BYTES), path).get("scores", []) if path.is_file() else []
        self._scores = [[step, score] for step, score in kept if step <= loop.step]

    def after_eval(self, loop: "Loop", scores: dict[str, Any]) -> None:
        if loop.monitor is None:
            return
        value = loop.monitor.value(scores)
        if value is not None and len(loop.stages) == 1:
            self._scores = [kept for kept in self._scores if kept[0] != loop.step] + [[loop.step, value]]
        result = dict(best=loop.best, monitor=loop.monitor.name, better=loop.monitor.better, step=loop.step)
        write_whole(self.folder / RESULT, json.dumps(result | {"scores": self._scores}))


def main(words: Sequence[str]) -> int:
    """Trains one trial, or goes on with it; returns the exit code."""
    return common.run(_train, argparse.Namespace(words=words))


def _train(args: argparse.Namespace) -> int:
    from segkit import api

    config, folder, device, *options = args.words
    hooks = [KeepScore(Path(folder))]
    result = api.train(api.checked(config, options), folder, resume="auto", device=device or None, hooks=hooks)
    return 0 if result.is_finished else 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
