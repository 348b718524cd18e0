"""Pictures of an evaluation: image | truth | prediction, one row per image, and the legend."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from segkit import dist
from segkit.types import Batch, Prediction
from segkit.viz import draw


def shown(prediction: Prediction, batch: Batch, i: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Image i of an evaluated batch -> what comparison draws: image [H,W,C] without padding, truth, prediction.

    Values below 0, which click targets ignore, become 255, which pictures leave out.
    """
    truth = torch.as_tensor(batch["mask"][i]).cpu().numpy()
    truth = np.where(truth < 0, 255, truth.astype(np.int16))
    return image_of(batch, i), truth, torch.as_tensor(prediction["labels"]).cpu().numpy()


def image_of(batch: Batch, i: int) -> np.ndarray:
    """Image i of a batch -> [H,W,C] without padding."""
    height, width = batch["meta"][i]["valid"]
    return batch["image"][i, :, :height, :width].permute(1, 2, 0).cpu().numpy()


def comparison(rows: list[tuple[np.ndarray, np.ndarray, np.ndarray]], palette: tuple, classes: tuple) -> np.ndarray:
    """rows: (image [H,W,C], truth [H0,W0], prediction [H0,W0]) -> uint8 [H',W',3]."""
    import cv2

    cells = []
    for image, truth, labels in rows:
        plain = draw.to_rgb(image)
        if plain.shape[:2] != truth.shape:
            plain = cv2.resize(plain, truth.shape[::-1], interpolation=cv2.INTER_AREA)
        cells.append([plain, draw.overlay(plain, truth, palette), draw.overlay(plain, labels, palette)])
    return draw.grid(cells, titles=("image", "truth", "prediction"), classes=classes, palette=palette)


class Show:
    """Writes image | truth | prediction of the main process's first images, a file each, the first six on one sheet,
    and plots of the scores."""

    SHEET = 6

    def __init__(self, folder: Path, dataset: Any, count: int):
        self.folder, self.dataset = folder, dataset
        self.left = count if dist.is_main() else 0
        self.sheet: list[tuple] = []

    def after_batch(self, loop: Any, predictions: list[Prediction], batch: Batch) -> None:
        """Draws the images of a batch until `count` are drawn."""
        for i, prediction in enumerate(predictions):
            if self.left <= 0 or "labels" not in prediction or "mask" not in batch:
                return
            self.left -= 1
            row = shown(prediction, batch, i)
            self._write(file_name(batch["meta"][i]["id"]), [row])
            self.sheet = [*self.sheet, row][: self.SHEET]

    def finish(self, metrics: list, scores: dict) -> Path | None:
        """Called on every process after the evaluation -> the path of the sheet, None where nothing was drawn."""
        if dist.is_main():
            _plots(self.folder, metrics, self.dataset, scores)
        return self._write("overview", self.sheet) if self.sheet else None

    def _write(self, name: str, rows: list[tuple]) -> Path:
        picture = comparison(rows, self.dataset.palette, self.dataset.classes)
        return draw.save_png(self.folder / f"{name}.png", picture)


def file_name(image_id: object) -> str:
    """The id as a part of a file's name."""
    return str(image_id).replace("/", "_")


def _plots(folder: Path, metrics: list, dataset: Any, scores: dict) -> None:
    from segkit.viz import plots

    for metric in metrics:
        if hasattr(metric, "matrix"):
            plots.confusion_plot(metric.matrix(), dataset.classes, folder / "confusion.png")
    if "per_class" in scores:
        values = {name: row["IoU"] for name, row in scores["per_class"].items() if row.get("IoU") is not None}
        plots.bars(values, folder / "iou_per_class.png", title="IoU per class (%)")
