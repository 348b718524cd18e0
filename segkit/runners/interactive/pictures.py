"""Pictures of interactive segmentation: every click of an object and the mask after it, worst objects first."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from segkit import dist
from segkit.engine.pictures import file_name, image_of
from segkit.types import Batch, Prediction
from segkit.viz import clicks, draw
from segkit.viz.clicks import ClickRun

if TYPE_CHECKING:
    from segkit.engine.loop import Loop


class ShowClicks:
    """Keeps the `count` objects that took most clicks (of equals those of the lowest last IoU) and, at the end, draws
    each in a file whose name begins with its place in that order, and the worst six on one sheet.

    Predictions hold "clicks" [n,3] and "ious" [n], and "masks", a run-length code per click; without these the last
    mask alone is drawn. Of several processes each draws its own objects, under their places among all.
    """

    SHEET = 6

    def __init__(self, folder: Path, dataset: Any, count: int):
        self.folder, self.count = folder, count
        self.runs: list[ClickRun] = []

    def after_batch(self, loop: "Loop | None", predictions: Sequence[Prediction], batch: Batch) -> None:
        """Takes in the objects of a batch."""
        for i, one in enumerate(predictions):
            clicks, ious, truth, labels = (
                torch.as_tensor(x).cpu().numpy() for x in (one["clicks"], one["ious"], batch["mask"][i], one["labels"])
            )
            if len(clicks):
                masks = one.get("masks") or [labels]
                name = str(batch["meta"][i]["id"])
                self.runs.append(ClickRun(name, image_of(batch, i), truth, clicks, ious, masks))
        self.runs = sorted(self.runs, key=badness)[: self.count]

    def finish(self, metrics: list, scores: dict) -> Path | None:
        """Called on every process after the evaluation -> the path of the sheet, None where nothing was drawn."""
        keys = [key for part in dist.gather_objects([badness(run) for run in self.runs]) for key in part]
        place = {key: number for number, key in enumerate(sorted(keys)[: self.count], 1)}
        drawn = [run for run in self.runs if badness(run) in place]
        for run in drawn:
            name = f"{place[badness(run)]:04d}_clicks{len(run.clicks):03d}_iou{100 * float(run.ious[-1]):04.1f}"
            draw.save_png(self.folder / f"{name}_{file_name(run.name)}.png", clicks.steps(run))
        worst = [run for run in drawn if place[badness(run)] <= self.SHEET]
        worst = sorted((run for part in dist.gather_objects(worst) for run in part), key=badness)
        if not worst or not dist.is_main():
            return None
        return draw.save_png(self.folder / "overview.png", clicks.overview(worst))


def badness(run: ClickRun) -> tuple[int, float, str]:
    """Sorts the worst objects to the front; the name makes it each object's own."""
    return -len(run.clicks), float(run.ious[-1]), run.name
