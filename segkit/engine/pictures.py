"""The picture of an evaluation: image | truth | prediction, one row per image, and the legend."""

import numpy as np

from segkit import viz
from segkit.types import Batch, Prediction


def shown(prediction: Prediction, batch: Batch, i: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Image i of an evaluated batch -> what comparison draws: image [H,W,C] without padding, truth, prediction."""
    height, width = batch["meta"][i]["valid"]
    image = batch["image"][i, :, :height, :width].permute(1, 2, 0).cpu().numpy()
    return image, batch["mask"][i].cpu().numpy(), prediction["labels"].cpu().numpy()


def comparison(rows: list[tuple[np.ndarray, np.ndarray, np.ndarray]], palette: tuple, classes: tuple) -> np.ndarray:
    """rows: (image [H,W,C], truth [H0,W0], prediction [H0,W0]) -> uint8 [H',W',3]."""
    import cv2

    cells = []
    for image, truth, labels in rows:
        plain = viz.to_rgb(image)
        if plain.shape[:2] != truth.shape:
            plain = cv2.resize(plain, truth.shape[::-1], interpolation=cv2.INTER_AREA)
        cells.append([plain, viz.overlay(plain, truth, palette), viz.overlay(plain, labels, palette)])
    return viz.grid(cells, titles=("image", "truth", "prediction"), classes=classes, palette=palette)
