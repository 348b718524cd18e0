"""Pictures of instances: image | truth | prediction, one row per image. n objects, H W image."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from segkit import dist
from segkit.engine.pictures import file_name, image_of
from segkit.types import Batch, Prediction
from segkit.viz import draw

if TYPE_CHECKING:
    from segkit.engine.loop import Loop


class Objects(NamedTuple):
    """masks: n RLE or arrays, None for boxes alone; labels [n]; boxes [n,4] x0, y0, x1, y1; scores [n] or None."""

    masks: list | None
    labels: np.ndarray
    boxes: np.ndarray
    scores: np.ndarray | None = None


def original(batch: Batch, i: int) -> np.ndarray:
    """Image i of a batch without padding -> uint8 [H0,W0,3], at the size of its file."""
    import cv2

    image, size = draw.to_rgb(image_of(batch, i)), tuple(batch["meta"][i]["size"])
    is_smaller = size[0] * size[1] < image.shape[0] * image.shape[1]
    if image.shape[:2] == size:
        return image
    return cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA if is_smaller else cv2.INTER_LINEAR)


def found_in(prediction: Prediction, score: float) -> Objects:
    """The instances of at least this score."""
    scores, labels, boxes = (torch.as_tensor(prediction[key]).numpy() for key in ("scores", "labels", "boxes"))
    kept = np.flatnonzero(scores >= score)
    return Objects([prediction["masks"][k] for k in kept], labels[kept], boxes[kept], scores[kept])


def truth_in(annotations: dict) -> dict[str, Objects]:
    """annotations: in COCO form -> the objects of each image, by its id as text; crowds are left out."""
    from pycocotools import mask as coco_mask

    sizes = {one["id"]: (one["height"], one["width"]) for one in annotations["images"]}
    labels = {one["id"]: label for label, one in enumerate(annotations["categories"])}
    groups = defaultdict(list)
    for one in annotations["annotations"]:
        if not one.get("iscrowd") and one.get("segmentation") is not None:
            groups[one["image_id"]].append(one)

    def code(segmentation: list | dict, size: tuple[int, int]) -> dict:
        if isinstance(segmentation, dict) and not isinstance(segmentation["counts"], list):
            return segmentation
        codes = coco_mask.frPyObjects(segmentation, *size)
        return coco_mask.merge(codes) if isinstance(codes, list) else codes

    objects = {}
    for image, rows in groups.items():
        boxes = np.array([one["bbox"] for one in rows], float)
        boxes[:, 2:] += boxes[:, :2]
        masks = [code(one["segmentation"], sizes[image]) for one in rows]
        objects[str(image)] = Objects(masks, np.array([labels[one["category_id"]] for one in rows]), boxes)
    return objects


class ShowInstances:
    """Writes image | truth | prediction of the main process's first images, a file each, and the first six on one
    sheet. score: that an instance has at least. Truth is of `dataset.annotations`."""

    SHEET = 6

    def __init__(self, folder: Path, dataset: Any, count: int, score: float = 0.3):
        self.folder, self.dataset, self.score = folder, dataset, score
        self.left = count if dist.is_main() else 0
        self.rows: list[list[np.ndarray]] = []
        self.names: list[str] = []
        self._truth: dict[str, Objects] | None = None

    def after_batch(self, loop: "Loop | None", predictions: Sequence[Prediction], batch: Batch) -> None:
        """Draws the images of a batch until `count` are drawn."""
        for i, prediction in enumerate(predictions[: self.left]):
            self.left -= 1
            name = str(batch["meta"][i]["id"])
            if self._truth is None:
                self._truth = truth_in(self.dataset.annotations)
            image = original(batch, i)
            known = self._truth.get(name, Objects([], np.zeros(0, int), np.zeros((0, 4))))
            row = [image, *(self._drawn(image, objects) for objects in (known, found_in(prediction, self.score)))]
            self._write(file_name(name), [row], [name])
            if len(self.rows) < self.SHEET:
                self.rows.append(row)
                self.names.append(name)

    def finish(self, metrics: list, scores: dict) -> Path | None:
        """Called on every process after the evaluation -> the path of the sheet, None where nothing was drawn."""
        return self._write("overview", self.rows, self.names) if self.rows else None

    def _drawn(self, image: np.ndarray, objects: Objects) -> np.ndarray:
        return draw.draw_instances(
            image,
            objects.masks,
            objects.labels,
            boxes=objects.boxes,
            scores=objects.scores,
            classes=self.dataset.classes,
            palette=self.dataset.palette,
        )

    def _write(self, name: str, rows: list, names: list[str]) -> Path:
        picture = draw.grid(rows, titles=("image", "truth", "prediction"), captions=names)
        return draw.save_png(self.folder / f"{name}.png", picture)
