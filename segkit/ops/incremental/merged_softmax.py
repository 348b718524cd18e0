"""Cross entropies of softmaxes in which several classes are summed, as the background of incremental learning is.

B batch, K classes of the student, K_old of the teacher, H W image. For the backward pass the functions keep the logits
and maps of one channel, and write the gradient in closed form into one tensor; autograd would hold several tensors of K
channels.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

BANDS = 8
"""Bands of rows that an image is computed in."""


def merged_cross_entropy(logits: Tensor, target: Tensor, num_old: int, *, ignore: int) -> Tensor:
    """Computes -log p_y, where p_y of every old label is the sum of the probabilities of all old classes.

    Args:
        logits: float [B,K,H,W], K > num_old.
        target: int64 [B,H,W].
        num_old: K_old; labels below it are old.
        ignore: label of pixels that take no part.

    Returns:
        float [B,H,W], 0 where the label is `ignore`.
    """
    target = target.long()
    valid = target != ignore
    is_old = (target < num_old) & valid
    index = torch.where(valid & ~is_old, target, num_old)
    return _MergedCrossEntropy.apply(logits, index.unsqueeze(1), is_old, valid, num_old)


class _MergedCrossEntropy(torch.autograd.Function):
    """With the log-sum-exps O of the old, N of the new and D of all channels: log(1 + exp(N - O)), or D - z_y."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, index: Tensor, is_old: Tensor, valid: Tensor, num_old: int) -> Tensor:
        """Returns float [B,H,W]."""
        old, new = logits[:, :num_old].logsumexp(1), logits[:, num_old:].logsumexp(1)
        total = torch.logaddexp(old, new)
        ctx.save_for_backward(logits, index, is_old, valid, old, new)
        ctx.num_old = num_old
        of_old = F.logsigmoid(old - new).neg_()
        return torch.where(is_old, of_old, total - logits.gather(1, index).squeeze(1)) * valid

    @staticmethod
    def backward(ctx: Any, to_value: Tensor) -> tuple[Tensor, None, None, None, None]:
        """softmax(z) minus the softmax over the old channels alone at old labels, minus one-hot(y) elsewhere.

        The former is exp(z - O) (exp(O - D) - 1): the exponential never overflows, whatever the logits are.
        """
        logits, index, is_old, valid, old, new = ctx.saved_tensors
        total = torch.logaddexp(old, new)
        to_value = to_value * valid
        base = torch.where(is_old, old, total).unsqueeze(1)
        # O - D = log(sigmoid(O - N)): its expm1 is -sigmoid(N - O)
        factor = torch.where(is_old, (new - old).sigmoid_().neg_(), 1.0).mul_(to_value).unsqueeze(1)
        grad = logits.clone()
        grad[:, : ctx.num_old].sub_(base)
        grad[:, ctx.num_old :].sub_(total.unsqueeze(1))
        grad.exp_()
        grad[:, : ctx.num_old].mul_(factor)
        grad[:, ctx.num_old :].mul_(to_value.unsqueeze(1))
        grad.scatter_add_(1, index, torch.where(is_old, 0.0, to_value).neg_().unsqueeze(1))
        return grad, None, None, None, None


def merged_distillation(logits: Tensor, teacher_logits: Tensor, *, alpha: float, merges_new: bool) -> Tensor:
    """Computes the distillation loss -(1/K_old) sum_c q_c log p_c over the classes of the teacher.

    q = softmax(alpha teacher_logits), and p is a softmax of the student.

    Args:
        logits: float [B,K,H,W], K >= K_old.
        teacher_logits: float [B,K_old,H,W], gets no gradient.
        alpha: factor of the teacher's logits.
        merges_new: True takes p over all K classes, p_0 being the sum of the background and of the classes that the
            teacher lacks; False takes p over the first K_old classes alone.

    Returns:
        float [B,H,W].
    """
    width = logits.shape[1] if merges_new else teacher_logits.shape[1]
    return _MergedDistillation.apply(logits, teacher_logits.detach().to(logits.dtype), alpha, width)


class _MergedDistillation(torch.autograd.Function):
    """Works in bands of rows, so that little memory is needed beside the gradient."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, teacher_logits: Tensor, alpha: float, width: int) -> Tensor:
        """Returns float [B,H,W]. width: number of student channels that take part, K_old or K."""
        values, backgrounds, totals = [], [], []
        for student, teacher in zip(logits.chunk(BANDS, 2), teacher_logits.chunk(BANDS, 2)):
            value, background, total = _distil(student[:, :width], teacher, alpha)
            values.append(value)
            backgrounds.append(background)
            totals.append(total)
        ctx.save_for_backward(logits, teacher_logits, torch.cat(backgrounds, 2), torch.cat(totals, 2))
        ctx.alpha, ctx.width = alpha, width
        return torch.cat(values, 2).squeeze(1)

    @staticmethod
    def backward(ctx: Any, to_value: Tensor) -> tuple[Tensor, None, None, None]:
        """See _replace_by_gradient; the channels that take no part get 0."""
        logits, teacher_logits, background, total = ctx.saved_tensors
        grad = logits.clone()
        grad[:, ctx.width :].zero_()
        maps = (grad[:, : ctx.width], teacher_logits, background, total, to_value.unsqueeze(1))
        for band in zip(*(x.chunk(BANDS, 2) for x in maps)):
            _replace_by_gradient(*band, alpha=ctx.alpha)
        return grad, None, None, None


def _distil(logits: Tensor, teacher_logits: Tensor, alpha: float) -> tuple[Tensor, Tensor, Tensor]:
    """Returns the loss and the log-sum-exps of the merged background and of all channels, float [B,1,H,W] each."""
    num_old = teacher_logits.shape[1]
    background = logits[:, :1]
    if logits.shape[1] > num_old:
        background = torch.logaddexp(background, logits[:, num_old:].logsumexp(1, keepdim=True))
    total = background
    if num_old > 1:
        total = torch.logaddexp(background, logits[:, 1:num_old].logsumexp(1, keepdim=True))
    log_p = logits[:, :num_old] - total
    log_p[:, :1] = background - total
    return log_p.mul_(_softmax(teacher_logits, alpha)).sum(1, keepdim=True).div_(-num_old), background, total


def _replace_by_gradient(
    grad: Tensor, teacher_logits: Tensor, background: Tensor, total: Tensor, to_value: Tensor, *, alpha: float
) -> None:
    """Overwrites the logits that `grad` holds with the gradient to them.

    With the log-sum-exps G of the merged background and D of all channels it is exp(z - D) - q for old classes, and
    exp(z - G) (exp(G - D) - q_0) for the background and the classes merged into it.
    """
    num_old = teacher_logits.shape[1]
    q = _softmax(teacher_logits, alpha)
    to_value = to_value / num_old
    factor = (background - total).exp_().sub_(q[:, :1]).mul_(to_value)
    grad[:, :1].sub_(background).exp_().mul_(factor)
    grad[:, 1:num_old].sub_(total).exp_().sub_(q[:, 1:]).mul_(to_value)
    grad[:, num_old:].sub_(background).exp_().mul_(factor)


def _softmax(teacher_logits: Tensor, alpha: float) -> Tensor:
    return (teacher_logits if alpha == 1 else teacher_logits * alpha).softmax(1)
