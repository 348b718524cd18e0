"""What a runner is: it says what the model is fed; losses are criterion rows, and the loop is one for all."""

from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn

from segkit.engine.pictures import Show
from segkit.settings import InferenceSettings
from segkit.types import Batch, Outputs, Prediction, Stage


class Runner:
    """Base of all runners; `forward` and `predict` are each runner's own, the rest does nothing.

    inference: the section of that name, set before the first prediction; first_stage: where a new run begins.
    """

    inference: InferenceSettings = InferenceSettings()
    first_stage: int = 0

    def forward(self, model: nn.Module, batch: Batch, rng: np.random.Generator) -> Outputs:
        """model: the wrapped model in training mode -> what the criterion's rows name; may add keys to the batch."""
        raise NotImplementedError(f"{type(self).__name__} gives no forward()")

    def predict(self, model: nn.Module, batch: Batch) -> list[Prediction]:
        """model: the raw model in evaluation mode -> one Prediction per image, at its original size."""
        raise NotImplementedError(f"{type(self).__name__} gives no predict()")

    def show(self, folder: Path, dataset: Any, count: int) -> Any:
        """-> what draws pictures of an evaluation into the folder, of `count` images at most: it has
        after_batch(loop, predictions, batch) and, for the end, finish(metrics, scores) -> an overview's path."""
        return Show(folder, dataset, count)

    def stages(self, cfg: dict) -> list[Stage]:
        """The trainings of the run, in order."""
        return [Stage()]

    def check_start(self, cfg: dict) -> None:
        """Called before a new run: ConfigError where what it starts from is missing or does not fit."""

    def hooks(self) -> tuple:
        """Hooks of the runner's own, beside those of every run."""
        return ()

    def prepare(self, model: nn.Module, stage: Stage, loop: Any) -> nn.Module:
        """model: as the stage's config builds it, on the CPU -> the model that the stage trains."""
        return model

    def start(self, stage: Stage, loop: Any) -> None:
        """Called when a stage's data, model and optimizer stand."""

    def after_backward(self, model: nn.Module) -> dict[str, Tensor]:
        """Called between unscaling and clipping; may edit gradients. -> terms for the log."""
        return {}

    def after_step(self, loop: Any) -> None:
        """Called after each optimizer step."""

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain types that a resumed run needs."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes back what state_dict gave."""


def bare(model: nn.Module) -> nn.Module:
    """The module inside DistributedDataParallel and torch.compile."""
    while isinstance(getattr(model, "module", None), nn.Module) or hasattr(model, "_orig_mod"):
        model = model._orig_mod if hasattr(model, "_orig_mod") else model.module
    return model
