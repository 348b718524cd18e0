"""What the per-class (one against the rest) pixel losses share. B batch, K classes, H W image."""

from typing import NamedTuple

import torch
from torch import Tensor

from segkit.ops.averaging import mean_over


class Signed(NamedTuple):
    """logits: float [B,K,H,W], negated where the class is the true one, so that every element is a negative example;
    index: int64 [B,1,H,W] of the true class; valid: bool [B,H,W]."""

    logits: Tensor
    index: Tensor
    valid: Tensor


def flip_true_class(logits: Tensor, target: Tensor, ignore: float) -> Signed:
    """logits: float [B,K,H,W]; target: int64 [B,H,W].

    Binary losses of a positive with logit x and of a negative with logit -x are equal: with the true class negated one
    formula serves all classes, and no one-hot copy of the label is made.
    """
    valid = target != ignore
    index = (target.long() * valid).unsqueeze(1)
    return Signed(logits.scatter(1, index, -logits.gather(1, index)), index, valid)


def is_index_target(logits: Tensor, target: Tensor) -> bool:
    """True for class indices [B,H,W] of K > 1 logits; False for a target that matches the logits."""
    return target.dim() == logits.dim() - 1 and logits.shape[1] > 1


def dense_target(logits: Tensor, target: Tensor, ignore: float) -> tuple[Tensor, Tensor]:
    """target: [B,K,H,W], or [B,H,W] for K = 1 -> label float [B,K,H,W], 0 where ignored, and valid bool [B,K,H,W]."""
    target = target.view_as(logits) if target.dim() < logits.dim() else target
    if target.shape != logits.shape:
        raise ValueError(f"target {tuple(target.shape)} does not match logits {tuple(logits.shape)}")
    valid = target != ignore
    return torch.where(valid, target, 0).to(logits.dtype), valid


def mean_of_samples(values: Tensor, valid: Tensor) -> Tensor:
    """Mean over the valid pixels of each sample and channel, then over all of them; one without valid pixels adds 0 and
    is counted. values: float [B,K,H,W], 0 where not valid; valid: bool [B,K,H,W] -> float []."""
    number = valid.flatten(2).sum(2).clamp_min(1)
    return (values.flatten(2).sum(2) / number).mean()


def mean_of_pixels(values: Tensor, valid: Tensor, average: str) -> Tensor:
    """values, valid: [B,K,H,W], values 0 where not valid -> float [], the mean by `average` (see mean_over)."""
    return mean_over(values.sum(), valid.sum(), valid.numel(), average)
