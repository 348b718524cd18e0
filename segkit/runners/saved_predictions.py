"""Predictions of an evaluation as files."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from segkit.engine.hooks import Hook
from segkit.engine.pictures import file_name, original
from segkit.runners.writers import Writer
from segkit.types import Batch, Prediction

if TYPE_CHECKING:
    from segkit.engine.loop import Loop


class SavePredictions(Hook):
    """Writes the predictions of an evaluation as `segkit predict` writes those of images.

    Overlays are drawn on the image as the network saw it, at its stored size.

    Args:
        writer: takes them.
    """

    def __init__(self, writer: Writer):
        self.writer = writer

    def after_batch(self, loop: "Loop | None", predictions: Sequence[Prediction], batch: Batch) -> None:
        for i, (prediction, meta) in enumerate(zip(predictions, batch["meta"], strict=True)):
            arrays: Any = {k: v.cpu().numpy() if isinstance(v, torch.Tensor) else v for k, v in prediction.items()}
            self.writer.add(Path(meta["path"]), file_name(meta["id"]), original(batch, i), arrays)
