"""Logarithms of sigmoid probabilities that stay exact in both tails."""

import torch
import torch.nn.functional as F
from torch import Tensor


def log_agreement(logits: Tensor, label: Tensor) -> Tensor:
    """log(1 - |t - s(x)|) for logits x and labels t in 0..1 of one shape, s the sigmoid -> the same shape.

    1 - |t - s(x)| is (1 - t) + s(x) where s(x) <= t and t + s(-x) elsewhere. Both are a constant plus a sigmoid,
    taken as logarithms: the gradient is right where the sigmoid underflows (hard labels, |x| > 100).
    """
    is_below = torch.sigmoid(logits) <= label
    constant = torch.where(is_below, 1 - label, label)
    signed = torch.where(is_below, logits, -logits)
    return torch.logaddexp(constant.log(), F.logsigmoid(signed))
