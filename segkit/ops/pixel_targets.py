"""Targets and means of pixel losses that treat each class as one against the rest.

B batch, K classes, H W image.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from segkit.ops.averaging import mean_over
from segkit.types import CLICK_IGNORE, IGNORE


class Signed(NamedTuple):
    """Logits of which every element is a negative example, see flip_true_class.

    Attributes:
        logits: float [B,K,H,W], negated at the true class.
        index: int64 [B,1,H,W], the true class; 0 where not valid.
        valid: bool [B,H,W], False on ignored pixels.
    """

    logits: Tensor
    index: Tensor  # type: ignore[assignment]  # hides tuple.index, which nothing calls
    valid: Tensor


def valid_pixels(target: Tensor, ignore: float | None) -> Tensor:
    """Returns which elements of a target take part, bool of its shape.

    Args:
        target: labels, or values in 0..1.
        ignore: the value that is left out; None leaves out both values that data sets use and that are never labels:
            255, and -1 of click targets.
    """
    if ignore is not None:
        return target != ignore
    return (target != IGNORE) & (target != CLICK_IGNORE)


def flip_true_class(logits: Tensor, target: Tensor, ignore: float | None) -> Signed:
    """Negates the logit of the true class of each pixel, so that one formula serves all classes.

    The binary losses of a positive example with logit x and of a negative example with logit -x are equal. No one-hot
    copy of the label is made.

    Args:
        logits: float [B,K,H,W].
        target: int64 [B,H,W] of class indices.
        ignore: label of pixels that take no part; None as for `valid_pixels`.

    Returns:
        The negated logits, the true class and the valid pixels.
    """
    valid = valid_pixels(target, ignore)
    index = (target.long() * valid).unsqueeze(1)
    return Signed(logits.scatter(1, index, -logits.gather(1, index)), index, valid)


def is_index_target(logits: Tensor, target: Tensor) -> bool:
    """Returns True for class indices [B,H,W] of K > 1 logits, False for a target of the logits' own shape."""
    return target.dim() == logits.dim() - 1 and logits.shape[1] > 1


def dense_target(logits: Tensor, target: Tensor, ignore: float | None) -> tuple[Tensor, Tensor]:
    """Brings a target to the shape and dtype of the logits.

    Args:
        logits: float [B,K,H,W].
        target: [B,K,H,W], or [B,H,W] for K = 1, values in 0..1 or `ignore`.
        ignore: label of pixels that take no part; None as for `valid_pixels`.

    Returns:
        The label float [B,K,H,W], 0 where ignored, and the valid pixels bool [B,K,H,W].

    Raises:
        ValueError: for a target of another shape.
    """
    target = target.view_as(logits) if target.dim() < logits.dim() else target
    if target.shape != logits.shape:
        raise ValueError(f"target {tuple(target.shape)} does not match logits {tuple(logits.shape)}")
    valid = valid_pixels(target, ignore)
    return torch.where(valid, target, 0).to(logits.dtype), valid


def mean_of_samples(values: Tensor, valid: Tensor) -> Tensor:
    """Takes the mean over the valid pixels of each sample and channel, then the mean of these means.

    Args:
        values: float [B,K,H,W], 0 where not valid.
        valid: bool [B,K,H,W]. A channel without valid pixels adds 0 to the mean, but is counted.

    Returns:
        float [].
    """
    number = valid.flatten(2).sum(2).clamp_min(1)
    return (values.flatten(2).sum(2) / number).mean()


def mean_of_pixels(values: Tensor, valid: Tensor, average: str) -> Tensor:
    """Takes the mean over all pixels and channels.

    Args:
        values: float [B,K,H,W], 0 where not valid.
        valid: bool [B,K,H,W].
        average: "valid", "all" or "global", see mean_over.

    Returns:
        float [].
    """
    return mean_over(values.sum(), valid.sum(), valid.numel(), average)
