"""A teacher that is the moving average of its student, as DiscoBox has it.

DiscoBox, Lan et al., ICCV 2021, section 3.2, https://arxiv.org/abs/2105.06464, after Tarvainen and Valpola, Mean
teachers, NeurIPS 2017, https://arxiv.org/abs/1703.01780.
"""

from typing import Any

import torch
from torch import Tensor, nn

from segkit.engine.optim import Ema
from segkit.types import Outputs


class MovingTeacher:
    """Computes an output "teacher.<name>" for every output of the student.

    The average is taken of the raw module, so that it is the same on every process.

    Args:
        decay: of the average, between 0 and 1; see Ema.
        start: optimizer step after which the average begins, as a copy of the student. Until then the student's own
            outputs are the teacher's.
        rise, buffers: of the average, see Ema; its step s is here the number of the optimizer step, 1 for the first.

    Raises:
        ValueError: decay or start is out of range.
    """

    def __init__(self, decay: float, start: int = 0, *, rise: int = 10, buffers: bool = True):
        if not 0 < decay < 1 or start < 0:
            raise ValueError(
                f"decay = {decay}, start = {start}: the decay must be between 0 and 1, the start 0 or more"
            )
        self.decay, self.start, self.rise, self.buffers = decay, start, rise, buffers
        self.ema: Ema | None = None

    def update(self, model: nn.Module, step: int) -> None:
        """Moves the average.

        Args:
            model: the raw module after an optimizer step.
            step: number of that step, 1 for the first.
        """
        if self.ema is not None:
            self.ema.update(model, step)
        elif step >= self.start:
            self.ema = self._copy(model)

    @torch.no_grad()
    def outputs(self, image: Tensor, student: Outputs) -> Outputs:
        """Runs the teacher without gradients.

        Args:
            image: [B,3,H,W], as the student saw it.
            student: its outputs.

        Returns:
            The teacher's outputs.
        """
        outputs = student if self.ema is None else self.ema.module(image)
        return {f"teacher.{name}": _detached(value) for name, value in outputs.items()}

    def state_dict(self) -> dict[str, Any]:
        """Returns the average's tensors, {} before it begins."""
        return {} if self.ema is None else {"teacher": self.ema.module.state_dict()}

    def load_state_dict(self, state: dict[str, Any], model: nn.Module) -> None:
        """Restores the average.

        Args:
            state: of state_dict.
            model: the raw module, with the same weights' names and shapes.
        """
        self.ema = None
        if "teacher" in state:
            self.ema = self._copy(model)
            self.ema.module.load_state_dict(state["teacher"])

    def _copy(self, model: nn.Module) -> Ema:
        ema = Ema(model, self.decay, rise=self.rise, buffers=self.buffers)
        for parameter in ema.module.parameters():
            parameter.grad = None
        return ema


def _detached(value: Any) -> Any:
    """A tensor without its graph; of a list each element so."""
    if isinstance(value, Tensor):
        return value.detach()
    return [_detached(element) for element in value] if isinstance(value, list | tuple) else value
