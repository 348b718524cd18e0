"""Heads of single steps with a hidden layer of their own, and outputs for unknown objects and the background.

SSUL, Cha et al., NeurIPS 2021, https://arxiv.org/abs/2106.11562, and MicroSeg, Zhang et al., NeurIPS 2022,
https://arxiv.org/abs/2211.06866. B batch, C channels, O outputs, U of them for unknown objects, P proposed regions.
"""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from segkit.models.layers import bias_of
from segkit.registry import ConfigError


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


def region_head(in_channels: int, num_outputs: int) -> nn.Sequential:
    """Returns three 3x3 convolutions that keep the channels, each normalized and with a ReLU, and a 1x1 convolution."""
    layers: list[nn.Module] = []
    for _ in range(3):
        layers += [nn.Conv2d(in_channels, in_channels, 3, padding=1, bias=False), nn.BatchNorm2d(in_channels)]
        layers.append(nn.ReLU(inplace=True))
    return nn.Sequential(*layers, nn.Conv2d(in_channels, num_outputs, 1))


class ProposalHeads(StepHeads):
    """StepHeads with several outputs for unknown objects, each beside a head for proposed regions (MicroSeg).

    Args:
        in_channels: C.
        num_outputs: outputs of the first step: unknown as one, background and its classes, at least 3.
        num_unknown: U.

    Raises:
        ValueError: num_outputs is below 3.
    """

    def __init__(self, in_channels: int, num_outputs: int, num_unknown: int):
        super().__init__(in_channels, num_outputs)
        self.num_unknown = num_unknown
        self.unknown = step_head(in_channels, num_unknown)
        self.region_unknown, self.region_background = region_head(in_channels, num_unknown), region_head(in_channels, 1)
        self.region_steps = nn.ModuleList([region_head(in_channels, num_outputs - 2)])

    def add(self, num_new: int) -> None:
        """Adds a step with num_new outputs and fresh random weights."""
        super().add(num_new)
        like = cast(nn.Conv2d, self.unknown[0]).weight
        self.region_steps.append(region_head(self.in_channels, num_new).to(like.device, like.dtype))

    def copy_unknown(self) -> None:
        """There is no single head to copy.

        Raises:
            ConfigError: always.
        """
        raise ConfigError(
            f"runner.init = 'unknown': copies the head for unknown objects, and this head has {self.num_unknown} "
            "outputs for them; set runner.init = 'random'"
        )

    def of_regions(self, means: Tensor) -> Tensor:
        """Computes the logits of proposed regions, float [B,P,U + O - 1], of their mean features, float [B,P,C]."""
        flat = means.flatten(0, 1)[..., None, None]
        heads = (self.region_unknown, self.region_background, *self.region_steps)
        return torch.cat([head(flat) for head in heads], 1)[..., 0, 0].unflatten(0, means.shape[:2])

    def merged(self, logits: Tensor) -> Tensor:
        """Sums the outputs for unknown objects: float [B,U + O - 1,h,w] -> float [B,O,h,w]."""
        unknown = logits[:, : self.num_unknown].sum(1, keepdim=True)
        return torch.cat([unknown, logits[:, self.num_unknown :]], 1)
