"""Pictures of interactive segmentation: every click on an object and the mask after it, the worst objects first."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch

from segkit import dist
from segkit.data.dataset import Dataset
from segkit.engine.pictures import file_name, image_of
from segkit.types import RLE, Batch, ClickPrediction, Prediction
from segkit.viz import clicks, draw
from segkit.viz.clicks import ClickRun

if TYPE_CHECKING:
    from segkit.engine.loop import Loop


class ShowClicks:
    """Draws the objects of an evaluation that took the most clicks: a file for each, and the worst six on one sheet.

    Objects with as many clicks are ordered by their last IoU, the lowest first. Each file's name begins with the
    object's position in that order. Of predictions without "masks" the last mask alone is drawn. Each of several
    processes draws its own objects, under their positions among all.

    Args:
        folder: takes the files and overview.png.
        dataset: not used here.
        count: objects at most.
    """

    SHEET = 6
    is_observer = True

    def __init__(self, folder: Path, dataset: Dataset, count: int):
        self.folder, self.count = folder, count
        self.runs: list[ClickRun] = []

    def after_batch(self, loop: "Loop | None", predictions: Sequence[Prediction], batch: Batch) -> None:
        """Takes in the objects of a batch, and keeps the worst so far."""
        for i, prediction in enumerate(predictions):
            found = cast(ClickPrediction, prediction)
            object_clicks = _as_array(found["clicks"])
            if len(object_clicks):
                masks: Sequence[np.ndarray | RLE] = found.get("masks", ())
                name, truth = str(batch["meta"][i]["id"]), _as_array(batch["mask"][i])
                masks = masks or [_as_array(found["labels"])]
                run = ClickRun(name, image_of(batch, i), truth, object_clicks, _as_array(found["ious"]), masks)
                self.runs.append(run)
        self.runs = sorted(self.runs, key=badness)[: self.count]

    def finish(self, metrics: list, scores: dict[str, Any]) -> Path | None:
        """Writes the files; called on every process. Returns the sheet's path, None where nothing was drawn."""
        keys = [key for rank_keys in dist.gather_objects([badness(run) for run in self.runs]) for key in rank_keys]
        positions = {key: number for number, key in enumerate(sorted(keys)[: self.count], 1)}
        drawn = [run for run in self.runs if badness(run) in positions]
        for run in drawn:
            name = f"{positions[badness(run)]:04d}_clicks{len(run.clicks):03d}_iou{100 * float(run.ious[-1]):04.1f}"
            draw.save_png(self.folder / f"{name}_{file_name(run.name)}.png", clicks.steps(run))
        own_worst = [run for run in drawn if positions[badness(run)] <= self.SHEET]
        worst = sorted((run for rank_runs in dist.gather_objects(own_worst) for run in rank_runs), key=badness)
        if not worst or not dist.is_main():
            return None
        return draw.save_png(self.folder / "overview.png", clicks.overview(worst))


def badness(run: ClickRun) -> tuple[int, float, str]:
    """Returns the key that sorts the worst objects to the front; it ends in the name, so no two objects share it."""
    return -len(run.clicks), float(run.ious[-1]), run.name


def _as_array(values: object) -> np.ndarray:
    return torch.as_tensor(values).cpu().numpy()
