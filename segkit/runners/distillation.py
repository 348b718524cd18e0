"""Training of a student with the predictions of a trained teacher."""

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from segkit.models.bases import Network
from segkit.registry import RUNNERS, ConfigError
from segkit.runners.loading import load_model
from segkit.runners.semantic import Semantic
from segkit.types import Batch, Outputs, Stage

if TYPE_CHECKING:
    from segkit.engine.loop import Loop


@RUNNERS.register
class Distillation(Semantic):
    """Semantic segmentation with a frozen teacher, whose outputs rows of losses name: "teacher.logits".

    The teacher sees the same augmented images in evaluation mode. Hinton et al., 2015,
    https://arxiv.org/abs/1503.02531; the loss is KLDistillation.

    Args:
        teacher: checkpoint of segkit.
        probabilities: as in Semantic.
    """

    def __init__(self, teacher: str, probabilities: bool = False):
        super().__init__(probabilities)
        self.teacher = teacher
        self._network: Network | None = None

    def check_start(self, cfg: dict) -> None:
        """Loads the teacher before anything is written.

        Raises:
            ConfigError: it has another number of classes than the student.
            CheckpointError: it cannot be read.
        """
        self._load(int(cfg["model"]["num_classes"]))

    def _load(self, classes: int) -> Network:
        if self._network is None:
            network = load_model(self.teacher)
            if network.num_classes != classes:
                raise ConfigError(
                    f"runner.teacher = '{self.teacher}': has {network.num_classes} classes, the student {classes}; "
                    "take a teacher of the same classes"
                )
            self._network = network.requires_grad_(False)
        return self._network

    def holds_whole_models(self) -> str:
        """Returns why loop.shard is refused; see Runner.holds_whole_models."""
        return "whose teacher every process holds whole"

    def start(self, stage: Stage, loop: "Loop") -> None:
        """Loads the teacher to the device."""
        self._load(loop.raw_model.num_classes).to(loop.device)

    def forward(self, model: nn.Module, batch: Batch, rng: np.random.Generator) -> Outputs:
        """Runs student and teacher; see Runner.forward."""
        outputs = super().forward(model, batch, rng)
        assert self._network is not None
        with torch.no_grad():
            taught = super().forward(self._network, batch, rng)
        return outputs | {f"teacher.{name}": value for name, value in taught.items()}
