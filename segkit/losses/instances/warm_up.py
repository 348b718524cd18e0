"""Factors that grow with the number of training steps seen, kept in the checkpoint."""

import torch
from torch import Tensor, nn


class WarmUp(nn.Module):
    """Call -> float32 []: with `is_linear` min(calls / steps, 1), the present call counted; else 0 for the first
    `steps` calls and 1 from then on. Calls are counted in training mode."""

    def __init__(self, steps: int, is_linear: bool):
        super().__init__()
        self.steps, self.is_linear = steps, is_linear
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))

    def forward(self) -> Tensor:
        """-> float32 [] in 0..1."""
        if self.training:
            self.calls += 1
        if not self.is_linear:
            return (self.calls > self.steps).float()
        return (self.calls / max(self.steps, 1)).clamp(max=1.0)
