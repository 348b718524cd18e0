"""Focal losses' two parts for sigmoid probabilities, exact in both tails."""

import torch
import torch.nn.functional as F
from torch import Tensor


def focal_parts(logits: Tensor, label: Tensor, gamma: float) -> tuple[Tensor, Tensor]:
    """logits x and labels t in 0..1 of one shape -> |t - s(x)|^gamma and -log(1 - |t - s(x)|), s the sigmoid.

    1 - |t - s(x)| is c + s(z): with c = 1 - t and z = x where s(x) <= t, with c = t and z = -x elsewhere. For hard
    labels c is 0, and logarithm and gradient come from a log-sigmoid, which neither rounds nor underflows.
    """
    return _FocalParts.apply(logits, label, gamma)


class _FocalParts(torch.autograd.Function):
    """Elementwise, with the gradient in closed form: three tensors are kept where autograd would keep a dozen."""

    @staticmethod
    def forward(ctx, logits: Tensor, label: Tensor, gamma: float):
        """-> error^gamma, -log(1 - error)."""
        is_below = logits.sigmoid() <= label
        constant = torch.where(is_below, 1 - label, label)
        signed = torch.where(is_below, logits, -logits)
        rest = torch.sigmoid(-signed)  # 1 - s(z)
        error = (rest - constant).clamp_min_(0)
        is_hard = constant == 0
        minus_log = torch.where(is_hard, F.logsigmoid(signed), (constant + (1 - rest)).log_()).neg_()
        ctx.save_for_backward(rest, constant, is_below)
        ctx.gamma = gamma
        return error.square() if gamma == 2 else error.pow(gamma), minus_log

    @staticmethod
    def backward(ctx, to_power: Tensor, to_log: Tensor):
        """With q = s(z): d error / dz = -q (1 - q), d -log(c + q) / dz = -(1 - q) q / (c + q)."""
        rest, constant, is_below = ctx.saved_tensors
        gamma = ctx.gamma
        inner = 1 - rest
        share = torch.where(constant == 0, 1.0, inner / (constant + inner))
        grad = to_log * share
        if gamma != 0:
            error = (rest - constant).clamp_min_(torch.finfo(rest.dtype).tiny)
            power = error if gamma == 2 else error.pow(gamma - 1)
            # below gamma = 1 the power is infinite at 0, where rest is 0 as well
            slope = torch.where(error > torch.finfo(rest.dtype).tiny, power, 0.0) if gamma < 1 else power
            grad = grad.addcmul(to_power * inner, slope, value=gamma)
        grad = grad * rest
        return torch.where(is_below, -grad, grad), None, None


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
