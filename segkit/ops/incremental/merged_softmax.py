"""Cross entropies of softmaxes in which classes are summed: the background of incremental learning.

B batch, C classes of the student, K of them the teacher's, H W image. The functions keep the logits and maps of one
channel for the backward pass and write the gradient in closed form into one tensor, where autograd would hold several
of C channels.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

BANDS = 8


def merged_cross_entropy(logits: Tensor, target: Tensor, num_old: int, *, ignore: int) -> Tensor:
    """-log p_y, where p_y of every label y < K = num_old is the sum of the first K probabilities.

    logits: float [B,C,H,W], C > K; target: int64 [B,H,W] -> float [B,H,W], 0 where the label is `ignore`.
    """
    target = target.long()
    valid = target != ignore
    is_old = (target < num_old) & valid
    index = torch.where(valid & ~is_old, target, num_old)
    return _MergedCrossEntropy.apply(logits, index.unsqueeze(1), is_old, valid, num_old)


class _MergedCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx, logits: Tensor, index: Tensor, is_old: Tensor, valid: Tensor, num_old: int):
        """With the log-sum-exps O of the old, N of the new and D of all channels: log(1 + exp(N - O)), or D - z_y."""
        old, new = logits[:, :num_old].logsumexp(1), logits[:, num_old:].logsumexp(1)
        every = torch.logaddexp(old, new)
        ctx.save_for_backward(logits, index, is_old, valid, old, new)
        ctx.num_old = num_old
        of_old = F.logsigmoid(old - new).neg_()
        return torch.where(is_old, of_old, every - logits.gather(1, index).squeeze(1)) * valid

    @staticmethod
    def backward(ctx, to_value: Tensor):
        """softmax(z) minus the old channels' own softmax at labels of old classes, minus one-hot(y) elsewhere.

        The former is exp(z - O) (exp(O - D) - 1): no power of a positive number is taken, whatever the logits are.
        """
        logits, index, is_old, valid, old, new = ctx.saved_tensors
        every = torch.logaddexp(old, new)
        to_value = to_value * valid
        base = torch.where(is_old, old, every).unsqueeze(1)
        # O - D = log(sigmoid(O - N)): its expm1 is -sigmoid(N - O)
        factor = torch.where(is_old, (new - old).sigmoid_().neg_(), 1.0).mul_(to_value).unsqueeze(1)
        grad = logits.clone()
        grad[:, : ctx.num_old].sub_(base)
        grad[:, ctx.num_old :].sub_(every.unsqueeze(1))
        grad.exp_()
        grad[:, : ctx.num_old].mul_(factor)
        grad[:, ctx.num_old :].mul_(to_value.unsqueeze(1))
        grad.scatter_add_(1, index, torch.where(is_old, 0.0, to_value).neg_().unsqueeze(1))
        return grad, None, None, None, None


def merged_distillation(logits: Tensor, teacher_logits: Tensor, *, alpha: float, merges_new: bool) -> Tensor:
    """-(1/K) sum_c q_c log p_c with q = softmax(alpha teacher_logits) of K classes.

    p is the student's softmax; merges_new: over all C classes, p_0 the sum of the background and of the classes that
    the teacher does not know; otherwise over the first K classes alone.
    logits: float [B,C,H,W], C >= K; teacher_logits: float [B,K,H,W], gets no gradient -> float [B,H,W].
    """
    width = logits.shape[1] if merges_new else teacher_logits.shape[1]
    return _MergedDistillation.apply(logits, teacher_logits.detach().to(logits.dtype), alpha, width)


class _MergedDistillation(torch.autograd.Function):
    """Works in bands of rows, so that what it needs beside the gradient is small."""

    @staticmethod
    def forward(ctx, logits: Tensor, teacher_logits: Tensor, alpha: float, width: int):
        """width: number of student channels that take part, K or C."""
        bands = zip(logits.chunk(BANDS, 2), teacher_logits.chunk(BANDS, 2))
        parts = [_distil(own[:, :width], teachers, alpha) for own, teachers in bands]
        value, background, every = (torch.cat(part, 2) for part in zip(*parts))
        ctx.save_for_backward(logits, teacher_logits, background, every)
        ctx.alpha, ctx.width = alpha, width
        return value.squeeze(1)

    @staticmethod
    def backward(ctx, to_value: Tensor):
        """See _to_slope; the channels that take no part get 0."""
        logits, teacher_logits, background, every = ctx.saved_tensors
        grad = logits.clone()
        grad[:, ctx.width :].zero_()
        maps = (grad[:, : ctx.width], teacher_logits, background, every, to_value.unsqueeze(1))
        for band in zip(*(part.chunk(BANDS, 2) for part in maps)):
            _to_slope(*band, alpha=ctx.alpha)
        return grad, None, None, None


def _distil(logits: Tensor, teacher_logits: Tensor, alpha: float) -> tuple[Tensor, Tensor, Tensor]:
    """-> the loss, and the log-sum-exps of the background with what it takes in and of all, float [B,1,H,W]."""
    num_old = teacher_logits.shape[1]
    background = logits[:, :1]
    if logits.shape[1] > num_old:
        background = torch.logaddexp(background, logits[:, num_old:].logsumexp(1, keepdim=True))
    every = background
    if num_old > 1:
        every = torch.logaddexp(background, logits[:, 1:num_old].logsumexp(1, keepdim=True))
    log_p = logits[:, :num_old] - every
    log_p[:, :1] = background - every
    return log_p.mul_(_softmax(teacher_logits, alpha)).sum(1, keepdim=True).div_(-num_old), background, every


def _to_slope(
    grad: Tensor, teacher_logits: Tensor, background: Tensor, every: Tensor, to_value: Tensor, *, alpha: float
) -> None:
    """grad: the logits, in whose place the gradient is put. With the log-sum-exps G of the merged background and D of
    all: exp(z - D) - q for old classes, and exp(z - G) (exp(G - D) - q_0) for the background and what it takes in."""
    num_old = teacher_logits.shape[1]
    q = _softmax(teacher_logits, alpha)
    to_value = to_value / num_old
    factor = (background - every).exp_().sub_(q[:, :1]).mul_(to_value)
    grad[:, :1].sub_(background).exp_().mul_(factor)
    grad[:, 1:num_old].sub_(every).exp_().sub_(q[:, 1:]).mul_(to_value)
    grad[:, num_old:].sub_(background).exp_().mul_(factor)


def _softmax(teacher_logits: Tensor, alpha: float) -> Tensor:
    return (teacher_logits if alpha == 1 else teacher_logits * alpha).softmax(1)
