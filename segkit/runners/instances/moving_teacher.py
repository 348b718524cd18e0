"""A teacher that is the moving average of its student: DiscoBox, Lan et al., ICCV 2021, section 3.2,
https://arxiv.org/abs/2105.06464, after Tarvainen and Valpola, Mean teachers, NeurIPS 2017,
https://arxiv.org/abs/1703.01780."""

from typing import Any

import torch
from torch import Tensor, nn

from segkit.engine.optim import Ema
from segkit.types import Outputs


class MovingTeacher:
    """Gives outputs "teacher.<name>" for every output of the student.

    decay: of the average, as Ema takes it; start: the optimizer step after which the average begins, as a copy of the
    student; until then the student's own outputs are the teacher's. The average is taken of the raw module, so that it
    is the same on every process.
    """

    def __init__(self, decay: float, start: int = 0):
        if not 0 < decay < 1 or start < 0:
            raise ValueError(f"decay = {decay}, start = {start}: a decay is between 0 and 1, a step from 0 on")
        self.decay, self.start = decay, start
        self.ema: Ema | None = None

    def update(self, model: nn.Module, step: int) -> None:
        """model: the raw module after the optimizer step number `step`, 1 being the first."""
        if self.ema is not None:
            self.ema.update(model, step)
        elif step >= self.start:
            self.ema = self._copy(model)

    @torch.no_grad()
    def outputs(self, image: Tensor, student: Outputs) -> Outputs:
        """image: [B,3,H,W], what the student saw; student: its outputs -> the teacher's, without a graph."""
        given = student if self.ema is None else self.ema.module(image)
        return {f"teacher.{name}": _detached(value) for name, value in given.items()}

    def state_dict(self) -> dict[str, Any]:
        """The average's tensors, {} before there is one."""
        return {} if self.ema is None else {"teacher": self.ema.module.state_dict()}

    def load_state_dict(self, state: dict[str, Any], model: nn.Module) -> None:
        """state: of state_dict; model: the raw module, of the same form."""
        self.ema = None
        if "teacher" in state:
            self.ema = self._copy(model)
            self.ema.module.load_state_dict(state["teacher"])

    def _copy(self, model: nn.Module) -> Ema:
        ema = Ema(model, self.decay)
        for parameter in ema.module.parameters():
            parameter.grad = None
        return ema


def _detached(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach()
    return [_detached(one) for one in value] if isinstance(value, list | tuple) else value
