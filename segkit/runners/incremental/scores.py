"""What the steps of a run came to: a table, a plot and metrics.json, renewed after every step."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

from segkit import dist
from segkit.engine.hooks import Hook
from segkit.files import write_whole
from segkit.metrics.incremental import step_record, steps_table, summary
from segkit.viz import plots

if TYPE_CHECKING:
    from segkit.engine.loop import Loop

FILE = "scores.json"
"""A step's record in its folder; metrics.json there is what the test command writes."""


class StepScores(Hook):
    """Writes the scores of each step's last evaluation to its folder, and those of all steps so far, read from their
    folders, to the run's: metrics.json, pictures/steps.png. start: checkpoint that stands for the first step; its
    scores lie beside it where it is another run's first step."""

    def __init__(self, start: Path | None = None):
        self.start = start

    def after_eval(self, loop: "Loop", scores: dict) -> None:
        """Of the step's last evaluation, at once: a run that is stopped during it has no other. Nothing where the
        validation has other metrics than IncrementalIoU."""
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
        result = summary([one for one in records if one is not None])
        write(loop.work_dir / "metrics.json", result)
        print(steps_table(result["steps"]), flush=True)
        plots.steps_plot(result["steps"], loop.work_dir / "pictures" / "steps.png")


def read(path: Path, step: int) -> dict | None:
    """-> the record of this step; None where there is no file, or one with scores of something else."""
    if not path.exists():
        return None
    content = json.loads(path.read_text())
    return content if content.get("step") == step else None


def write(path: Path, content: dict) -> None:
    write_whole(path, json.dumps(content, indent=1) + "\n")
