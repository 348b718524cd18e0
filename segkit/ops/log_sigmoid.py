"""The terms of focal losses for sigmoid probabilities, exact in both tails. s is the sigmoid."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

NORMALIZER_EPS = 1e-12
"""Added to the sum of focal factors that the normalized focal loss divides by, as published."""


def balance(label: Tensor, alpha: float) -> Tensor | float:
    """Returns the alpha balance of a focal loss: alpha for positives and 1 - alpha for negatives.

    Args:
        label: float of any shape, in 0..1; above 0.5 is positive.
        alpha: weight of positives, in 0..1.

    Returns:
        float of the label's shape, or the number 0.5 for alpha = 0.5.
    """
    return alpha if alpha == 0.5 else torch.where(label > 0.5, alpha, 1 - alpha)


def focal_parts(logits: Tensor, label: Tensor, gamma: float) -> tuple[Tensor, Tensor]:
    """Computes the two factors of a focal loss, |t - s(x)|^gamma and -log(1 - |t - s(x)|).

    For a hard label (0 or 1) on the wrong side, 1 - |t - s(x)| is s(-|x|), which rounds to 0: its logarithm is computed
    as log s(|x|) - |x|, and its gradient as the error itself.

    Args:
        logits: x, float of any shape.
        label: t, float of the same shape, in 0..1.
        gamma: exponent, 0 or more.

    Returns:
        Both factors, float of that shape.
    """
    return _FocalParts.apply(logits, label, gamma)


def normalized_focal(
    logits: Tensor,
    label: Tensor,
    valid: Tensor,
    *,
    alpha: float,
    gamma: float,
    max_mult: float | None = None,
    detach: bool = True,
) -> Tensor:
    """Computes the terms of the normalized focal loss, see losses.NormalizedFocal.

    Args:
        logits: float [B,K,H,W].
        label: float [B,K,H,W] in 0..1.
        valid: bool [B,K,H,W], the pixels that take part.
        alpha: balance of positives.
        gamma: exponent, 0 or more.
        max_mult: upper bound of the normalized factor; None is no bound.
        detach: lets no gradient through the normalization.

    Returns:
        float [B,K,H,W], 0 where not valid.
    """
    beta, minus_log = focal_parts(logits, label, gamma)
    beta = beta * valid
    number = valid.flatten(2).sum(2).to(beta.dtype)
    multiplier = number / (beta.flatten(2).sum(2) + NORMALIZER_EPS)
    if detach:
        multiplier = multiplier.detach()
    beta = beta * multiplier.unflatten(1, (-1,) + (1,) * (beta.dim() - 2))
    if max_mult is not None:
        beta = beta.clamp_max(max_mult)
    return beta * minus_log * balance(label, alpha)


class _FocalParts(torch.autograd.Function):
    """Elementwise, with the gradient in closed form: two tensors are kept where autograd would keep a dozen."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, label: Tensor, gamma: float) -> tuple[Tensor, Tensor]:
        """Returns error^gamma and -log(1 - error)."""
        p = logits.sigmoid()
        error = (label - p).abs_()
        is_mistake = (label.round() == label).logical_and_(error > 0.5)
        minus_log = torch.where(is_mistake, error, 1 - error).log_()
        minus_log = (logits.abs() * is_mistake).sub_(minus_log)
        ctx.save_for_backward(p, label)
        ctx.gamma = gamma
        return error.square() if gamma == 2 else error.pow(gamma), minus_log

    @staticmethod
    def backward(ctx: Any, to_power: Tensor, to_log: Tensor) -> tuple[Tensor, None, None]:
        """With e = |t - s| and e' = -sign(t - s) s (1 - s): (e^gamma)' = gamma e^(gamma - 1) e'.

        (-log(1 - e))' = e' / (1 - e), which is -sign(t - s) e for a hard label.
        """
        p, label = ctx.saved_tensors
        gamma = ctx.gamma
        difference = label - p
        error = difference.abs()
        slope = p * (1 - p)
        grad = torch.where(label.round() == label, error, slope / (1 - error)).mul_(to_log)
        if gamma != 0:
            # below gamma = 1 the power is infinite at an error of 0, where the slope is 0 as well
            power = error if gamma == 2 else error.clamp_min_(1e-12).pow_(gamma - 1)
            grad = grad.addcmul_(slope.mul_(to_power), power, value=gamma)
        return grad.mul_(difference.sign_()).neg_(), None, None


def focal_of_negatives(logits: Tensor, gamma: float) -> Tensor:
    """Computes the focal loss of negative examples, -s(x)^gamma log(1 - s(x)), elementwise.

    Args:
        logits: x, float of any shape.
        gamma: exponent, 0 or more.

    Returns:
        float of that shape.
    """
    return _FocalOfNegatives.apply(logits, gamma)


class _FocalOfNegatives(torch.autograd.Function):
    """Elementwise; only the logits are kept."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, gamma: float) -> Tensor:
        """Returns softplus(x) exp(gamma log s(x)), with log s(x) = x - softplus(x)."""
        ctx.save_for_backward(logits)
        ctx.gamma = gamma
        softplus = F.logsigmoid(-logits).neg_()
        return (logits - softplus).mul_(gamma).exp_().mul_(softplus)

    @staticmethod
    def backward(ctx: Any, to_value: Tensor) -> tuple[Tensor, None]:
        """s^gamma (s + gamma (1 - s) softplus(x)), as softplus' = s and (log s)' = 1 - s."""
        (logits,) = ctx.saved_tensors
        softplus = F.logsigmoid(-logits).neg_()
        power = (logits - softplus).mul_(ctx.gamma).exp_()
        slope = softplus.mul_(torch.sigmoid(-logits)).mul_(ctx.gamma).add_(logits.sigmoid())
        return slope.mul_(power).mul_(to_value), None
