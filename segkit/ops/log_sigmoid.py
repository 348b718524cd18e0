"""Focal losses' two parts for sigmoid probabilities, exact in both tails."""

import torch
import torch.nn.functional as F
from torch import Tensor


def balance(label: Tensor, alpha: float) -> Tensor | float:
    """label: float in 0..1 -> alpha above 0.5 and 1 - alpha elsewhere; one number where the two are equal."""
    return alpha if alpha == 0.5 else torch.where(label > 0.5, alpha, 1 - alpha)


def focal_parts(logits: Tensor, label: Tensor, gamma: float) -> tuple[Tensor, Tensor]:
    """logits x and labels t in 0..1 of one shape -> |t - s(x)|^gamma and -log(1 - |t - s(x)|), s the sigmoid.

    For a hard label on the wrong side 1 - |t - s(x)| is s(-|x|), which rounds to 0; its logarithm is taken as
    log s(|x|) - |x|, and the gradient as the error itself.
    """
    return _FocalParts.apply(logits, label, gamma)


class _FocalParts(torch.autograd.Function):
    """Elementwise, with the gradient in closed form: one tensor is kept where autograd would keep a dozen."""

    @staticmethod
    def forward(ctx, logits: Tensor, label: Tensor, gamma: float):
        """-> error^gamma, -log(1 - error)."""
        p = logits.sigmoid()
        error = (label - p).abs_()
        is_mistake = (label.round() == label).logical_and_(error > 0.5)
        minus_log = torch.where(is_mistake, error, 1 - error).log_()
        minus_log = (logits.abs() * is_mistake).sub_(minus_log)
        ctx.save_for_backward(p, label)
        ctx.gamma = gamma
        return error.square() if gamma == 2 else error.pow(gamma), minus_log

    @staticmethod
    def backward(ctx, to_power: Tensor, to_log: Tensor):
        """With e = |t - s| and e' = -sign(t - s) s (1 - s): (e^gamma)' = gamma e^(gamma - 1) e', -log(1 - e)' = e' / (1
        - e), for a hard label -sign(t - s) e."""
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
    """-s(x)^gamma log(1 - s(x)) of negative examples with logits x, elementwise."""
    return _FocalOfNegatives.apply(logits, gamma)


class _FocalOfNegatives(torch.autograd.Function):
    """Elementwise; only the logits are kept."""

    @staticmethod
    def forward(ctx, logits: Tensor, gamma: float):
        """-> softplus(x) exp(gamma log s(x)), log s(x) = x - softplus(x)."""
        ctx.save_for_backward(logits)
        ctx.gamma = gamma
        softplus = F.logsigmoid(-logits).neg_()
        return (logits - softplus).mul_(gamma).exp_().mul_(softplus)

    @staticmethod
    def backward(ctx, to_value: Tensor):
        """s^gamma (s + gamma (1 - s) softplus(x)), as softplus' = s and (log s)' = 1 - s."""
        (logits,) = ctx.saved_tensors
        softplus = F.logsigmoid(-logits).neg_()
        power = (logits - softplus).mul_(ctx.gamma).exp_()
        slope = softplus.mul_(torch.sigmoid(-logits)).mul_(ctx.gamma).add_(logits.sigmoid())
        return slope.mul_(power).mul_(to_value), None
