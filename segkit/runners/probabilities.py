"""Probabilities of each class as files: NAME.npz of float16 [K,H,W] and the names of the classes."""

import io
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from segkit.engine.hooks import Hook
from segkit.engine.pictures import file_name
from segkit.files import write_whole
from segkit.runners.writers import Writer
from segkit.types import Batch, Prediction

if TYPE_CHECKING:
    from segkit.engine.loop import Loop

FOLDER = "probabilities"
"""Folder of the files below that of the other results."""


def save_probabilities(path: Path, prediction: Any, classes: Sequence[str]) -> None:
    """Writes the probabilities of an image, 2 bytes for each class and pixel before compression.

    Args:
        path: the file, NAME.npz.
        prediction: with "probabilities", float [K,H,W]. The single map of two classes is that of class 1, and both are
            written.
        classes: K names; () where they are not known.
    """
    values = torch.as_tensor(prediction["probabilities"]).float().cpu().numpy()
    if len(values) == 1 and len(classes) != 1:
        values = np.concatenate([1 - values, values])
    # names as text of a fixed width need no pickle
    arrays = {"probabilities": values.astype(np.float16), "classes": np.array(list(classes), np.str_)}
    file = io.BytesIO()
    # numpy's own level of compression takes three times as long for 5 % less
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)
    write_whole(path, file.getvalue())


class WithProbabilities:
    """Writes what another writer writes, and probabilities/NAME.npz.

    Args:
        writer: of the other files.
        folder: takes the folder of the files.
        classes: K names, () where they are not known.
    """

    def __init__(self, writer: Writer, folder: Path, classes: Sequence[str]):
        self.writer, self.folder, self.classes = writer, folder / FOLDER, tuple(classes)

    def add(self, path: Path, name: str, image: np.ndarray, prediction: Prediction) -> None:
        """Writes one prediction; see Writer."""
        save_probabilities(self.folder / f"{name}.npz", prediction, self.classes)
        self.writer.add(path, name, image, prediction)

    def close(self) -> Path:
        """Returns the result of the other writer."""
        return self.writer.close()


class SaveProbabilities(Hook):
    """Writes ID.npz for each image of an evaluation.

    Args:
        folder: of the files.
        classes: K names.
    """

    def __init__(self, folder: Path, classes: Sequence[str]):
        self.folder, self.classes = folder, tuple(classes)

    def after_batch(self, loop: "Loop | None", predictions: Sequence[Prediction], batch: Batch) -> None:
        for prediction, meta in zip(predictions, batch["meta"]):
            save_probabilities(self.folder / f"{file_name(meta['id'])}.npz", prediction, self.classes)
