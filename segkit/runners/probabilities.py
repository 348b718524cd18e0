"""Probabilities of each class as files in an evaluation."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

from segkit.engine.hooks import Hook
from segkit.engine.pictures import file_name
from segkit.runners.writers import save_probabilities
from segkit.types import Batch, Prediction, SemanticPrediction

if TYPE_CHECKING:
    from segkit.engine.loop import Loop


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
            values = cast(SemanticPrediction, prediction)["probabilities"].float().cpu().numpy()
            save_probabilities(self.folder / f"{file_name(meta['id'])}.npz", values, self.classes)
