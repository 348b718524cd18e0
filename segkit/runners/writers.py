"""Predictions as files: label maps, masks, probabilities and overlays; torch is not needed."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, cast

import numpy as np

from segkit.readers.arrays import write_npz
from segkit.types import Color, MultiLabelPrediction, Prediction, SemanticPrediction, default_palette
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

    def close(self, order: Sequence[str] = ()) -> Path:
        """Writes what belongs to all images together, of all processes. Returns the file or folder with the results.

        Args:
            order: names of all images, where several processes have shared them.
        """


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

    def close(self, order: Sequence[str] = ()) -> Path:
        """Returns the folder of the label maps."""
        return self.folder / "labels"


def class_folders(classes: Sequence[str]) -> tuple[str, ...]:
    """Returns a folder's name for each class, each its own on every system.

    A checkpoint may come from anybody, and its class "../x" must not lead out of the folder: letters that paths give a
    meaning become "_", and a name that is then taken, or is no name, gets the number of its class.
    """
    folders: list[str] = []
    taken: set[str] = set()
    for number, name in enumerate(classes):
        plain = re.sub(r'[\x00-\x1f/\\:*?"<>|]', "_", name).rstrip(" .")
        while not plain or plain.casefold() in taken:
            plain = f"{plain or 'class'}_{number}"
        taken.add(plain.casefold())
        folders.append(plain)
    return tuple(folders)


class MaskWriter:
    """Writes masks/CLASS/NAME.png, 255 where the class is, and overlays/NAME.png.

    Args:
        folder: takes both folders.
        classes: K names, which class_folders turns into those of folders; numbers where it is empty.
        palette: K colors; the PASCAL VOC color map where it is empty.
    """

    def __init__(self, folder: Path, classes: Sequence[str], palette: Sequence[Color]):
        self.folder, self.class_folders = folder, class_folders(classes)
        self.palette = tuple(palette) or default_palette(257)[1:]

    def add(self, path: Path, name: str, image: np.ndarray, prediction: Prediction) -> None:
        """Writes the masks and the overlay of one image; see Writer."""
        masks = np.asarray(cast(MultiLabelPrediction, prediction)["positive"])
        for folder, mask in zip(self.class_folders or map(str, range(len(masks))), masks):
            draw.save_png(self.folder / "masks" / folder / f"{name}.png", mask.astype(np.uint8) * 255)
        draw.save_png(self.folder / "overlays" / f"{name}.png", draw.overlay_masks(image, masks, self.palette))

    def close(self, order: Sequence[str] = ()) -> Path:
        """Returns the folder of the masks."""
        return self.folder / "masks"


def save_probabilities(path: Path, values: np.ndarray, classes: Sequence[str]) -> None:
    """Writes the probabilities of an image, 2 bytes for each class and pixel before compression.

    Args:
        path: the file, NAME.npz.
        values: float [K,H,W]. The single map of two classes is that of class 1, and both are
            written.
        classes: K names; () where they are not known.
    """
    if len(values) == 1 and len(classes) != 1:
        values = np.concatenate([1 - values, values])
    # names as text of a fixed width need no pickle
    arrays = {"probabilities": values.astype(np.float16), "classes": np.array(list(classes), np.str_)}
    write_npz(path, arrays)


class WithProbabilities:
    """Writes what another writer writes, and probabilities/NAME.npz.

    Args:
        writer: of the other files.
        folder: takes the folder of the files.
        classes: K names, () where they are not known.
    """

    def __init__(self, writer: Writer, folder: Path, classes: Sequence[str]):
        self.writer, self.folder, self.classes = writer, folder / "probabilities", tuple(classes)

    def add(self, path: Path, name: str, image: np.ndarray, prediction: Prediction) -> None:
        """Writes one prediction; see Writer."""
        values = np.asarray(cast(SemanticPrediction, prediction)["probabilities"], np.float32)
        save_probabilities(self.folder / f"{name}.npz", values, self.classes)
        self.writer.add(path, name, image, prediction)

    def close(self, order: Sequence[str] = ()) -> Path:
        """Returns the result of the other writer."""
        return self.writer.close(order)
