"""Predictions as files: label maps and overlays."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, cast

import numpy as np

from segkit.types import Color, Prediction, SemanticPrediction, default_palette
from segkit.viz import draw


class Writer(Protocol):
    """Writes the predictions of a command into a folder."""

    def add(self, path: Path, name: str, image: np.ndarray, prediction: Prediction) -> None:
        """Writes one prediction.

        Args:
            path: the image's file.
            name: of the files to write, without suffix.
            image: [H,W,C], as read.
            prediction: of that image, as numpy arrays.
        """

    def close(self) -> Path:
        """Writes what belongs to all images together. Returns the file or folder with the results."""


class LabelWriter:
    """Writes labels/NAME.png, a label map with its palette, and overlays/NAME.png.

    Args:
        folder: takes both folders.
        palette: K colors; the PASCAL VOC color map where it is empty.
    """

    def __init__(self, folder: Path, palette: Sequence[Color]):
        self.folder = folder
        self.palette = tuple(palette) or default_palette(256)

    def add(self, path: Path, name: str, image: np.ndarray, prediction: Prediction) -> None:
        """Writes the label map and the overlay of one image; see Writer."""
        labels = np.asarray(cast(SemanticPrediction, prediction)["labels"])
        draw.save_label_png(self.folder / "labels" / f"{name}.png", labels, self.palette)
        overlay = draw.overlay(draw.to_rgb(image), labels, self.palette)
        draw.save_png(self.folder / "overlays" / f"{name}.png", overlay)

    def close(self) -> Path:
        """Returns the folder of the label maps."""
        return self.folder / "labels"
