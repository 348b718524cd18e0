"""Pictures of how masks improve during training: the same images at every tenth of a run. n objects."""

from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from torch import Tensor

from segkit import dist
from segkit.data.files.images import read_image
from segkit.data.loader import EvalItems, collate_eval, to_device
from segkit.engine.hooks import Hook
from segkit.engine.pictures import original
from segkit.engine.setup import build_transforms
from segkit.types import RLE, Batch, Color, InstancePrediction, Prediction, Sample
from segkit.viz import draw

if TYPE_CHECKING:
    from segkit.engine.loop import Loop

PARTS = 10
"""Equal parts of the run, after each of which the images are drawn."""

LEAST_OVERLAP = 0.3
"""IoU of a predicted and a true box, below which no mask is drawn for that object."""


class Growth(Hook):
    """Draws the masks of some images after the first step and after every tenth of the run.

    Of each object the true box is drawn, and the mask whose box overlaps it most, whatever its score. The images are
    spread over the validation data, or the training data where there is none. growth.png in the run's folder holds one
    column for each time; pictures/growth holds the single columns, so that a resumed run continues with them. Called
    on every process; the main one draws.

    Args:
        count: number of images.
    """

    is_observer = True

    def __init__(self, count: int = 4):
        self.count = count
        self._items: list[Sample] | None = None

    def after_step(self, loop: "Loop", terms: dict[str, Tensor]) -> None:
        """Draws a column after the steps that are due."""
        times = {1, *(round(loop.total_steps * part / PARTS) for part in range(1, PARTS + 1))}
        if loop.step not in times or not dist.is_main():
            return
        folder = loop.folder
        column = np.concatenate([_same_size(picture) for picture in self._pictures(loop)])
        draw.save_png(folder / "pictures" / "growth" / f"step_{loop.step:07d}.png", column)
        write_sheet(folder)

    @torch.no_grad()
    def _pictures(self, loop: "Loop") -> list[np.ndarray]:
        if self._items is None:
            self._items = chosen_items(loop, self.count)
        model = loop.eval_model
        was_training = model.training
        model.eval()
        pictures = []
        try:
            for item in self._items:
                batch = to_device(collate_eval([item]), loop.device)
                with torch.autocast(loop.device.type, loop.amp_dtype, enabled=loop.amp_dtype != torch.float32):
                    (prediction,) = loop.runner.predict(model, batch)
                pictures.append(drawn(batch, prediction))
        finally:  # the training goes on where a picture fails
            # weights cast here carry no graph; the next step must cast its own
            torch.clear_autocast_cache()
            model.train(was_training)
        return pictures


def chosen_items(loop: "Loop", count: int) -> list[Sample]:
    """Returns samples of images spread over the validation data, or the training data where there is none.

    Args:
        loop: gives the data.
        count: number of images; all of a smaller data set. The transforms are those of section `val`.
    """
    dataset = loop.dataset if loop.val is None else loop.val.dataset
    transforms = (loop.cfg.get("val") or {}).get("transforms", [])
    items = EvalItems(dataset, build_transforms(transforms, "val.transforms"))
    count = min(count, len(dataset))
    return [items[round(k * (len(dataset) - 1) / max(count - 1, 1))] for k in range(count)]


def drawn(batch: Batch, prediction: Prediction) -> np.ndarray:
    """Draws image 0 of a batch with its true boxes and the mask nearest to each, uint8 [H,W,3]."""
    boxes = batch["boxes"][0].cpu().numpy()
    masks = nearest(prediction, boxes)
    palette = draw.default_palette(len(boxes) + 1)[1:]
    found = {k: mask for k, mask in enumerate(masks) if mask is not None}
    picture = draw.draw_instances(original(batch, 0), list(found.values()), list(found), palette=palette)
    # an outline alone: names and scores would hide small objects
    scale = picture.shape[0] / batch["meta"][0]["size"][0]
    for k, box in enumerate(boxes):
        _frame(picture, np.round(box * scale).astype(int), palette[k])
    return picture


def nearest(prediction: Prediction, boxes: np.ndarray) -> list[RLE | None]:
    """Returns for each true box the mask whose box overlaps it most; None where the IoU is below LEAST_OVERLAP.

    Args:
        prediction: instances of an image.
        boxes: float [n,4] x0, y0, x1, y1, the true ones.
    """
    from pycocotools import mask as coco_mask

    instances = cast(InstancePrediction, prediction)
    predicted = torch.as_tensor(instances["boxes"]).numpy()
    if not len(predicted) or not len(boxes):
        return [None] * len(boxes)
    ious = np.asarray(coco_mask.iou(_with_sides(predicted), _with_sides(boxes), [0] * len(boxes)))
    return [instances["masks"][k] if ious[k, i] >= LEAST_OVERLAP else None for i, k in enumerate(ious.argmax(0))]


def _with_sides(boxes: np.ndarray) -> np.ndarray:
    """Boxes x0, y0, x1, y1 as COCO's x0, y0, width, height, float64 [n,4]."""
    return np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], 1).astype(float)


def write_sheet(folder: Path) -> Path:
    """Puts the columns so far side by side into growth.png. Returns its path.

    Args:
        folder: the run's folder, with pictures/growth.
    """
    files = sorted((folder / "pictures" / "growth").glob("step_*.png"))
    columns = [read_image(file) for file in files]
    columns = [column for column in columns if column.shape[0] == columns[0].shape[0]]
    titles = [f"step {int(file.stem[5:])}" for file in files][: len(columns)]
    return draw.save_png(folder / "growth.png", draw.grid([columns], titles=titles, cell=columns[0].shape[0]))


def _frame(picture: np.ndarray, box: np.ndarray, color: Color) -> None:
    import cv2

    x0, y0, x1, y1 = (int(value) for value in box)
    cv2.rectangle(picture, (x0, y0), (x1 - 1, y1 - 1), tuple(int(value) for value in color), 1)


def _same_size(picture: np.ndarray, side: int = 240) -> np.ndarray:
    """The picture scaled to fit a white square, its aspect ratio kept, uint8 [side,side,3]."""
    import cv2

    factor = side / max(picture.shape[:2])
    shape = tuple(max(1, round(length * factor)) for length in picture.shape[1::-1])
    cell = np.full((side, side, 3), 255, np.uint8)
    cell[: shape[1], : shape[0]] = cv2.resize(picture, shape, interpolation=cv2.INTER_AREA)
    return cell
