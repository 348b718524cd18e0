"""Pictures of instances: image | truth | prediction, one row for each image. n objects, H W image."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from segkit import dist
from segkit.engine.pictures import file_name, original
from segkit.runners.instances.drawn import DrawnInstances, found_in
from segkit.types import RLE, Batch, Prediction
from segkit.viz import draw

if TYPE_CHECKING:
    from segkit.engine.loop import Loop


def truth_in(annotations: dict[str, Any]) -> dict[str, DrawnInstances]:
    """Returns the instances of each image by its id as text; crowds are left out.

    Args:
        annotations: in COCO's format.
    """
    sizes = {image["id"]: (image["height"], image["width"]) for image in annotations["images"]}
    labels = {category["id"]: label for label, category in enumerate(annotations["categories"])}
    by_image = defaultdict(list)
    for annotation in annotations["annotations"]:
        if not annotation.get("iscrowd") and annotation.get("segmentation") is not None:
            by_image[annotation["image_id"]].append(annotation)
    truth = {}
    for image_id, rows in by_image.items():
        boxes = np.array([row["bbox"] for row in rows], float)
        boxes[:, 2:] += boxes[:, :2]
        masks = [_encoded(row["segmentation"], sizes[image_id]) for row in rows]
        truth[str(image_id)] = DrawnInstances(masks, [labels[row["category_id"]] for row in rows], boxes)
    return truth


def _encoded(segmentation: list | RLE, size: tuple[int, int]) -> RLE:
    """Compressed run-length code of polygons or of any run-length code; size: (H, W)."""
    from pycocotools import mask as coco_mask

    if isinstance(segmentation, dict) and not isinstance(segmentation["counts"], list):
        return segmentation
    codes = coco_mask.frPyObjects(segmentation, *size)
    return coco_mask.merge(codes) if isinstance(codes, list) else codes


class ShowInstances:
    """Writes image | truth | prediction of the main process's first images: a file for each, and one sheet.

    The sheet holds the first six.

    Args:
        folder: takes the files and overview.png.
        dataset: gives classes, palette and the truth, `annotations` in COCO's format.
        count: images at most.
        score: least score of the instances that are drawn.
    """

    is_observer = True
    SHEET = 6

    def __init__(self, folder: Path, dataset: Any, count: int, score: float = 0.3):
        self.folder, self.dataset, self.score = folder, dataset, score
        self.left = count if dist.is_main() else 0
        self.rows: list[list[np.ndarray]] = []
        self.names: list[str] = []
        self._truth: dict[str, DrawnInstances] | None = None

    def after_batch(self, loop: "Loop | None", predictions: Sequence[Prediction], batch: Batch) -> None:
        """Draws the images of a batch until `count` are drawn."""
        for i, prediction in enumerate(predictions[: self.left]):
            self.left -= 1
            name = str(batch["meta"][i]["id"])
            if self._truth is None:
                self._truth = truth_in(self.dataset.annotations)
            image = original(batch, i)
            truth = self._truth.get(name, DrawnInstances([], [], np.zeros((0, 4))))
            row = [image, self._drawn(image, truth), self._drawn(image, found_in(prediction, self.score))]
            self._write(file_name(name), [row], [name])
            if len(self.rows) < self.SHEET:
                self.rows.append(row)
                self.names.append(name)

    def finish(self, metrics: list, scores: dict[str, Any]) -> Path | None:
        """Writes the sheet; called on every process. Returns its path, None where nothing was drawn."""
        return self._write("overview", self.rows, self.names) if self.rows else None

    def _drawn(self, image: np.ndarray, instances: DrawnInstances) -> np.ndarray:
        return draw.draw_instances(
            image,
            instances.masks,
            instances.labels,
            boxes=instances.boxes,
            scores=instances.scores,
            classes=self.dataset.classes,
            palette=self.dataset.palette,
        )

    def _write(self, name: str, rows: list[list[np.ndarray]], names: list[str]) -> Path:
        picture = draw.grid(rows, titles=("image", "truth", "prediction"), captions=names)
        return draw.save_png(self.folder / f"{name}.png", picture)
