"""Pictures of an evaluation: image | truth | prediction, one row for each image, and the legend."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
import torch

from segkit import dist
from segkit.data.dataset import Dataset
from segkit.ops.resizing import is_resized, to_original
from segkit.types import Batch, Color, Prediction
from segkit.viz import draw

if TYPE_CHECKING:
    from segkit.engine.loop import Loop


class Comparison(NamedTuple):
    """An image with its labels.

    image: [H,W,C] without padding; truth, prediction: integer [H0,W0], 255 ignored, or of overlapping classes [K,H0,W0]
    of 0, 1 and 255.
    """

    image: np.ndarray
    truth: np.ndarray
    prediction: np.ndarray


class Shower(Protocol):
    """Draws pictures of an evaluation.

    Attributes:
        is_observer: whether an evaluation goes on where a picture fails, with a warning.
    """

    is_observer: bool

    def after_batch(self, loop: "Loop | None", predictions: Sequence[Prediction], batch: Batch) -> None:
        """Takes in the predictions of a batch."""

    def finish(self, metrics: list, scores: dict[str, Any]) -> Path | None:
        """Called on every process after the evaluation. Returns the path of an overview, None where there is none."""


def row_of(prediction: Prediction, batch: Batch, i: int) -> Comparison | None:
    """Returns image i of an evaluated batch with its labels; None where prediction or batch hold no label map."""
    labels = labels_of(prediction, batch, i)
    return None if labels is None else Comparison(image_of(batch, i), *labels)


def labels_of(prediction: Prediction, batch: Batch, i: int) -> tuple[np.ndarray, np.ndarray] | None:
    """Returns truth and prediction of image i of an evaluated batch as Comparison has them.

    Values below 0, which click targets ignore, become 255, which pictures leave out. None where prediction or batch
    hold no label map.
    """
    labels = prediction.get("labels", prediction.get("positive"))
    if labels is None or "mask" not in batch:
        return None
    truth = torch.as_tensor(batch["mask"][i]).cpu().numpy()
    if truth.dtype != np.uint8:
        truth = np.where(truth < 0, 255, truth.astype(np.int16))
    return truth, torch.as_tensor(labels).cpu().numpy()


def image_of(batch: Batch, i: int) -> np.ndarray:
    """Returns image i of a batch without padding, [H,W,C], upright as it is stored where a transform turned it."""
    meta = batch["meta"][i]
    seen = height, width = meta["valid"]
    image = batch["image"][i, :, :height, :width]
    if "matrix" in meta and not is_resized(meta["matrix"], meta["size"], seen):
        stored = to_original(image[None].float(), meta["size"], meta.get("matrix"), seen=seen)[0]
        image = stored.round().to(image.dtype)
    return image.permute(1, 2, 0).cpu().numpy()


def original(batch: Batch, i: int) -> np.ndarray:
    """Returns image i of a batch without padding, at the size of its file, uint8 [H0,W0,3]."""
    import cv2

    image, size = draw.to_rgb(image_of(batch, i)), tuple(batch["meta"][i]["size"])
    is_smaller = size[0] * size[1] < image.shape[0] * image.shape[1]
    if image.shape[:2] == size:
        return image
    return cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA if is_smaller else cv2.INTER_LINEAR)


def comparison(rows: Sequence[Comparison], palette: Sequence[Color], classes: Sequence[str]) -> np.ndarray:
    """Draws rows of image | truth | prediction with a legend; uint8 [H',W',3]."""
    import cv2

    cells = []
    for image, truth, labels in rows:
        rgb = draw.to_rgb(image)
        if rgb.shape[:2] != truth.shape[-2:]:
            rgb = cv2.resize(rgb, truth.shape[:-3:-1], interpolation=cv2.INTER_AREA)
        overlay = draw.overlay if truth.ndim == 2 else draw.overlay_masks
        cells.append([rgb, overlay(rgb, truth, palette), overlay(rgb, labels, palette)])
    return draw.grid(cells, titles=("image", "truth", "prediction"), classes=classes, palette=palette)


class Show:
    """Writes image | truth | prediction of the main process's first images, a sheet of them, and plots of the scores.

    Args:
        folder: takes a file for each image, overview.png, confusion.png and iou_per_class.png.
        dataset: gives classes and palette.
        count: images at most; the first six are on the sheet.
    """

    SHEET = 6
    is_observer = True

    def __init__(self, folder: Path, dataset: Dataset, count: int):
        self.folder, self.dataset = folder, dataset
        self.left = count if dist.is_main() else 0
        self.sheet: list[Comparison] = []

    def after_batch(self, loop: "Loop | None", predictions: Sequence[Prediction], batch: Batch) -> None:
        """Draws the images of a batch until `count` are drawn."""
        for i, prediction in enumerate(predictions):
            row = row_of(prediction, batch, i) if self.left > 0 else None
            if row is None:
                return
            self.left -= 1
            self._write(file_name(batch["meta"][i]["id"]), [row])
            self.sheet = [*self.sheet, row][: self.SHEET]

    def finish(self, metrics: list, scores: dict[str, Any]) -> Path | None:
        """Plots the scores and writes the sheet; called on every process. Returns the sheet's path."""
        if dist.is_main():
            self._plot(metrics, scores)
        return self._write("overview", self.sheet) if self.sheet else None

    def _plot(self, metrics: list, scores: dict[str, Any]) -> None:
        from segkit.viz import plots

        for metric in metrics:
            if (matrix := metric.matrix()) is not None:
                plots.confusion_plot(matrix, self.dataset.classes, self.folder / "confusion.png")
        if "per_class" in scores:
            values = {name: row["IoU"] for name, row in scores["per_class"].items() if row.get("IoU") is not None}
            plots.bars(values, self.folder / "iou_per_class.png", title="IoU per class (%)")

    def _write(self, name: str, rows: Sequence[Comparison]) -> Path:
        picture = comparison(rows, self.dataset.palette, self.dataset.classes)
        return draw.save_png(self.folder / f"{name}.png", picture)


def file_name(image_id: object) -> str:
    """Returns the id as a part of a file's name."""
    return str(image_id).replace("/", "_")
