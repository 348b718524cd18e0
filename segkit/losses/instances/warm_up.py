"""Factors that grow with the number of training steps."""

import torch
from torch import Tensor, nn


class WarmUp(nn.Module):
    """A factor that grows from 0 to 1 with the number of its calls in training mode, which the checkpoint keeps.

    Args:
        steps: calls until the factor is 1.
        is_linear: True gives min(calls / steps, 1), the present call counted; False gives 0 for the first `steps` calls
            and 1 from then on.
    """

    calls: Tensor

    def __init__(self, steps: int, is_linear: bool):
        super().__init__()
        self.steps, self.is_linear = steps, is_linear
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))

    def forward(self) -> Tensor:
        """Returns the factor, float32 [] in 0..1."""
        if self.training:
            self.calls += 1
        if not self.is_linear:
            return (self.calls > self.steps).float()
        return (self.calls / max(self.steps, 1)).clamp(max=1.0)
