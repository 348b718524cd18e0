"""Convolutions with a second branch, which learns while the first, frozen, holds what was learned before (RCIL).

Zhang et al., Representation Compensation Networks for Continual Semantic Segmentation, CVPR 2022,
https://arxiv.org/abs/2203.05402, section 3.2 and 3.3. Each branch is a convolution without bias and a batch
normalization; the result is the mean of both.
"""

from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

FIRST_ALONE, SECOND_ALONE = 0.33, 0.66
"""Ends of the shares of channels that take the first, then the second branch alone in training; the rest takes both."""

SUFFIX = "_new"
"""Ends the names of the second branch's layers."""


class Branches(NamedTuple):
    """The layers of both branches.

    Args:
        first, second: convolutions of a branch, whose outputs lie side by side.
        first_norm, second_norm: the normalization over all of them.
    """

    first: list[nn.Conv2d]
    first_norm: nn.BatchNorm2d
    second: list[nn.Conv2d]
    second_norm: nn.BatchNorm2d


class TwoBranches(nn.Module):
    """Base of modules with convolutions of two branches."""

    def branches(self) -> list[Branches]:
        """Returns the layers of each pair of branches."""
        raise NotImplementedError(f"{type(self).__name__} gives no branches()")


def mean_of_branches(first: Tensor, second: Tensor, *, training: bool) -> Tensor:
    """Returns the mean of two branches; in training a random third of the channels each takes one of them alone.

    Args:
        first, second: float [B,C,h,w].
        training: whether channels are drawn.
    """
    if not training:
        return (first + second) / 2
    drawn = torch.rand(first.shape[1], device=first.device).view(1, -1, 1, 1)
    share = torch.where(drawn < FIRST_ALONE, 1.0, torch.where(drawn < SECOND_ALONE, 0.0, 0.5)).to(first.dtype)
    return share * first + (1 - share) * second


def merge_branches(model: nn.Module, *, as_published: bool = False) -> int:
    """Folds the mean of both branches into the first, in place, so that the first alone is the model of this step.

    The second branch becomes a copy of it, so that in evaluation the model computes what it did before. Its
    normalization gets the mean that its convolution has by the running statistics, and the variance that it has where
    the branches are not correlated: it has to learn the true one in training.

    Args:
        model: in evaluation the mean of its branches.
        as_published: leaves the second branch as it is, as the authors' code does: the model then computes a quarter of
            the first and three quarters of the second branch of before.

    Returns:
        The number of pairs of branches.
    """
    pairs = [pair for module in model.modules() if isinstance(module, TwoBranches) for pair in module.branches()]
    for pair in pairs:
        _merge(pair, as_published)
    return len(pairs)


@torch.no_grad()
def _merge(pair: Branches, as_published: bool) -> None:
    norms = (pair.first_norm, pair.second_norm)
    statistics = [(cast(Tensor, norm.running_mean), cast(Tensor, norm.running_var)) for norm in norms]
    scales = [norm.weight / (variance + norm.eps).sqrt() for norm, (_, variance) in zip(norms, statistics)]
    shifts = [norm.bias - mean * scale for norm, (mean, _), scale in zip(norms, statistics, scales)]
    shift, offset = (shifts[0] + shifts[1]) / 2, 0
    for first, second in zip(pair.first, pair.second):
        one, two = (scale[offset : offset + first.out_channels].view(-1, 1, 1, 1) for scale in scales)
        first.weight.copy_((one * first.weight + two * second.weight) / 2)
        offset += first.out_channels
    center = (norms[0].bias + norms[1].bias) / 2
    spread = (norms[0].weight.square() + norms[1].weight.square()) / 4
    _set(pair.first_norm, mean=torch.zeros_like(shift), variance=torch.ones_like(shift), shift=shift)
    if as_published:
        return
    for first, second in zip(pair.first, pair.second):
        second.weight.copy_(first.weight)
    _set(pair.second_norm, mean=center - shift, variance=spread, shift=shift)


def _set(norm: nn.BatchNorm2d, *, mean: Tensor, variance: Tensor, shift: Tensor) -> None:
    """Makes a normalization add `shift` in evaluation; `variance` is that of its input and eps together."""
    variance = variance.clamp_min(2 * norm.eps)
    assert norm.running_mean is not None and norm.running_var is not None
    norm.running_mean.copy_(mean)
    norm.running_var.copy_(variance - norm.eps)
    norm.weight.copy_(variance.sqrt())
    norm.bias.copy_(mean + shift)
