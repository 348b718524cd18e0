"""Heads of single steps with a hidden layer of their own, and outputs for unknown objects and the background (SSUL).

Cha et al., SSUL, NeurIPS 2021, https://arxiv.org/abs/2106.11562. B batch, C channels.
"""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from segkit.models.layers import bias_of


def step_head(in_channels: int, num_classes: int) -> nn.Sequential:
    """Returns a 3x3 convolution that keeps the channels, its normalization and ReLU, and a 1x1 convolution."""
    return nn.Sequential(
        nn.Conv2d(in_channels, in_channels, 3, padding=1, bias=False),
        nn.BatchNorm2d(in_channels),
        nn.ReLU(inplace=True),
        nn.Conv2d(in_channels, num_classes, 1),
    )


class StepHeads(nn.Module):
    """One head for unknown objects, one for the background and one per step; their outputs come in this order.

    Args:
        in_channels: C.
        num_outputs: outputs of the first step: unknown, background and its classes, at least 3.

    Raises:
        ValueError: num_outputs is below 3.
    """

    def __init__(self, in_channels: int, num_outputs: int):
        super().__init__()
        if num_outputs < 3:
            raise ValueError(f"num_outputs = {num_outputs}: must be unknown, background and one class at least")
        self.in_channels = in_channels
        self.unknown, self.background = step_head(in_channels, 1), step_head(in_channels, 1)
        self.steps = nn.ModuleList([step_head(in_channels, num_outputs - 2)])

    @property
    def heads(self) -> Sequence[nn.Sequential]:
        """The head of each step."""
        return cast(Sequence[nn.Sequential], self.steps)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Outputs of each step, the first with unknown and background."""
        widths = [cast(nn.Conv2d, head[3]).out_channels for head in self.heads]
        return (widths[0] + 2, *widths[1:])

    @property
    def out_channels(self) -> int:
        """Outputs of all steps together."""
        return sum(self.sizes)

    def add(self, num_new: int) -> None:
        """Adds a step with num_new outputs and fresh random weights."""
        like = cast(nn.Conv2d, self.unknown[0]).weight
        self.steps.append(step_head(self.in_channels, num_new).to(like.device, like.dtype))

    @torch.no_grad()
    def copy_unknown(self) -> None:
        """Makes the newest head a copy of that for unknown objects, its last layer once for each output."""
        newest = self.heads[-1]
        for own, other in zip(newest[:2], self.unknown[:2]):
            own.load_state_dict(other.state_dict())
        own_last, other_last = cast(nn.Conv2d, newest[3]), cast(nn.Conv2d, self.unknown[3])
        own_last.weight.copy_(other_last.weight.expand_as(own_last.weight))
        bias_of(own_last).copy_(bias_of(other_last).expand_as(bias_of(own_last)))

    def forward(self, x: Tensor) -> Tensor:
        """Computes the logits of all heads, float [B,O,h,w], from a map float [B,C,h,w]."""
        return torch.cat([head(x) for head in (self.unknown, self.background, *self.heads)], 1)
