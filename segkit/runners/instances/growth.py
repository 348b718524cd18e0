"""How masks grow out of boxes while a network learns: the same images at every tenth of a run. n objects."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from segkit import dist
from segkit.data.loader import EvalItems, collate_eval, to_device
from segkit.engine.hooks import Hook
from segkit.engine.setup import build_transforms
from segkit.runners.instances.pictures import Objects, original
from segkit.types import Batch, Prediction, Sample
from segkit.viz import draw

if TYPE_CHECKING:
    from segkit.engine.loop import Loop

PARTS = 10
LEAST_OVERLAP = 0.3
"""IoU of a box found and a true one, below which nothing of that object is drawn."""


class Growth(Hook):
    """Draws `count` images, spread over the validation data (the training data where there is none), after the first
    step and after every tenth of the run: each true box, and the mask whose box is nearest to it, whatever its score.

    One column per time; growth.png in the run's folder holds all of them, pictures/growth each, so that a resumed run
    goes on with them. Called on every process; the main one draws.
    """

    def __init__(self, count: int = 4):
        self.count = count
        self._items: list | None = None

    def after_step(self, loop: "Loop", terms: dict) -> None:
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
        for item in self._items:
            batch = to_device(collate_eval([item]), loop.device)
            with torch.autocast(loop.device.type, loop.amp_dtype, enabled=loop.amp_dtype != torch.float32):
                (prediction,) = loop.runner.predict(model, batch)
            pictures.append(drawn(batch, prediction))
        # weights cast here carry no graph; the next step casts its own
        torch.clear_autocast_cache()
        model.train(was_training)
        return pictures


def chosen_items(loop: "Loop", count: int) -> list[Sample]:
    """Returns samples of `count` images spread over the validation data, else the training data, by the transforms of
    section `val`."""
    dataset = loop.dataset if loop.val is None else loop.val.dataset
    transforms = (loop.cfg.get("val") or {}).get("transforms", [])
    items = EvalItems(dataset, build_transforms(transforms, "val.transforms"))
    count = min(count, len(dataset))
    return [items[round(k * (len(dataset) - 1) / max(count - 1, 1))] for k in range(count)]


def drawn(batch: Batch, prediction: Prediction) -> np.ndarray:
    """Image 0 of a batch with its true boxes and the nearest mask of each -> uint8 [H,W,3]."""
    boxes = batch["boxes"][0].cpu().numpy()
    masks = nearest(prediction, boxes)
    palette = draw.default_palette(len(boxes) + 1)[1:]
    known = [k for k, mask in enumerate(masks) if mask is not None]
    picture = draw.draw_instances(original(batch, 0), [masks[k] for k in known], known, palette=palette)
    # an outline alone: names and scores would hide small objects
    scale = picture.shape[0] / batch["meta"][0]["size"][0]
    for k, box in enumerate(boxes):
        _frame(picture, np.round(box * scale).astype(int), palette[k])
    return picture


def nearest(prediction: Prediction, boxes: np.ndarray) -> list:
    """boxes: float [n,4] -> for each the mask of the prediction whose box overlaps it most, None where none does by
    LEAST_OVERLAP."""
    from pycocotools import mask as coco_mask

    found = Objects(prediction["masks"], *(torch.as_tensor(prediction[key]).numpy() for key in ("labels", "boxes")))
    if not len(found.boxes) or not len(boxes):
        return [None] * len(boxes)
    both = [np.concatenate([one[:, :2], one[:, 2:] - one[:, :2]], 1).astype(float) for one in (found.boxes, boxes)]
    ious = np.asarray(coco_mask.iou(*both, [0] * len(boxes)))
    return [found.masks[k] if ious[k, i] >= LEAST_OVERLAP else None for i, k in enumerate(ious.argmax(0))]


def write_sheet(folder: Path) -> Path:
    """Puts the columns that there are side by side -> the path of growth.png."""
    import cv2

    files = sorted((folder / "pictures" / "growth").glob("step_*.png"))
    columns = [cv2.imread(str(file))[..., ::-1] for file in files]
    columns = [column for column in columns if column.shape[0] == columns[0].shape[0]]
    titles = [f"step {int(file.stem[5:])}" for file in files][: len(columns)]
    return draw.save_png(folder / "growth.png", draw.grid([columns], titles=titles, cell=columns[0].shape[0]))


def _frame(picture: np.ndarray, box: np.ndarray, color: tuple) -> None:
    import cv2

    x0, y0, x1, y1 = (int(value) for value in box)
    cv2.rectangle(picture, (x0, y0), (x1 - 1, y1 - 1), tuple(int(value) for value in color), 1)


def _same_size(picture: np.ndarray, side: int = 240) -> np.ndarray:
    """-> uint8 [side,side,3], scaled with its shape kept, on white."""
    import cv2

    factor = side / max(picture.shape[:2])
    shape = tuple(max(1, round(length * factor)) for length in picture.shape[1::-1])
    cell = np.full((side, side, 3), 255, np.uint8)
    cell[: shape[1], : shape[0]] = cv2.resize(picture, shape, interpolation=cv2.INTER_AREA)
    return cell
