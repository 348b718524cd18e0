"""Scores of the class steps of a run: a table, a plot and metrics.json, written again after every step."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segkit import dist
from segkit.engine.hooks import Hook
from segkit.engine.notify import observing
from segkit.files import parse_json, read_text, write_whole
from segkit.metrics.incremental import step_record, steps_table, summary
from segkit.viz import plots

if TYPE_CHECKING:
    from segkit.engine.loop import Loop

FILE = "scores.json"
"""A step's record in its folder; metrics.json there is written by `segkit test`."""


class StepScores(Hook):
    """Writes the scores of each step's last evaluation, and a summary of all steps so far.

    A step's scores go to scores.json in its folder. The summary is made from these files and goes to the run's folder:
    metrics.json and pictures/steps.png.

    Args:
        start: checkpoint that replaces the training of the first step. Where it is another run's first step, its
            scores lie beside it.
    """

    def __init__(self, start: Path | None = None):
        self.start = start

    def after_eval(self, loop: "Loop", scores: dict[str, Any]) -> None:
        """Writes the files after the step's last evaluation; nothing where IncrementalIoU is not among the metrics.

        It does not wait for the end of the step, which a run that is stopped during this evaluation does not reach.
        """
        if not dist.is_main() or loop.step < loop.total_steps or "mIoU_old" not in scores:
            return
        # how fast the evaluation was is no score, and differs between two runs of the same numbers
        scores = {name: value for name, value in scores.items() if name != "images_per_second"}
        record = step_record(loop.stage_number, scores)
        write(loop.work_dir / loop.stage.name / FILE, record)
        folders = [loop.work_dir / stage.name for stage in loop.stages[: loop.stage_number + 1]]
        if self.start is not None:
            folders[0] = self.start.parent
        records = [read(folder / FILE, step) for step, folder in enumerate(folders)]
        result = summary([step_scores for step_scores in records if step_scores is not None])
        write(loop.work_dir / "metrics.json", result)
        print(steps_table(result["steps"]), flush=True)
        with observing(self, "pictures/steps.png"):
            plots.steps_plot(result["steps"], loop.work_dir / "pictures" / "steps.png")


def read(path: Path, step: int) -> dict[str, Any] | None:
    """Reads the record of a step; None where there is no file, or one with scores of another step."""
    if not path.exists():
        return None
    content = parse_json(read_text(path), path)
    return content if content.get("step") == step else None


def write(path: Path, content: dict[str, Any]) -> None:
    """Writes a JSON file; makes its folder."""
    write_whole(path, json.dumps(content, indent=1) + "\n")
