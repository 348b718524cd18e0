"""What the steps of a run came to: a table, a plot and metrics.json, renewed after every step."""

import json
from pathlib import Path
from typing import Any

from segkit import dist, viz_plots
from segkit.engine.hooks import Hook
from segkit.metrics.incremental import step_record, steps_table, summary


class StepScores(Hook):
    """Writes the scores of each step's last evaluation to its folder, and those of all steps so far, read from their
    folders, to the run's: metrics.json, pictures/steps.png."""

    def __init__(self):
        self._last: dict | None = None

    def after_eval(self, loop: Any, scores: dict) -> None:
        self._last = scores

    def after_stage(self, loop: Any) -> None:
        """Nothing where the validation has other metrics than IncrementalIoU, or none."""
        scores, self._last = self._last, None
        if not dist.is_main() or scores is None or "mIoU_old" not in scores:
            return
        # how fast the evaluation was is no score, and differs between two runs of the same numbers
        scores = {name: value for name, value in scores.items() if name != "images_per_second"}
        record = step_record(loop.stage_number, scores)
        write(loop.work_dir / loop.stage.name / "metrics.json", record)
        folders = [loop.work_dir / stage.name for stage in loop.stages[: loop.stage_number + 1]]
        files = [folder / "metrics.json" for folder in folders]
        result = summary([json.loads(file.read_text()) for file in files if file.exists()])
        write(loop.work_dir / "metrics.json", result)
        print(steps_table(result["steps"]), flush=True)
        (loop.work_dir / "pictures").mkdir(exist_ok=True)
        viz_plots.steps_plot(result["steps"], loop.work_dir / "pictures" / "steps.png")


def write(path: Path, content: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1) + "\n")
