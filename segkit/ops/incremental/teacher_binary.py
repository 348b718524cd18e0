"""Binary cross entropies against the sigmoid probabilities of a teacher.

B batch, K classes of the student, K_old of the teacher, H W image. Both functions sum log(1 + exp(z_c)) - t_c z_c over
channels: the binary cross entropy of logits z to targets t.
"""

from typing import Any

import torch
from torch import Tensor

BANDS = 8
"""Bands of rows that an image is computed in."""


def teacher_binary(logits: Tensor, teacher_logits: Tensor) -> Tensor:
    """Sums the binary cross entropies to t_c = sigmoid(teacher_logits_c) over the K_old classes of the teacher.

    Args:
        logits: float [B,K,H,W], K >= K_old.
        teacher_logits: float [B,K_old,H,W], gets no gradient.

    Returns:
        float [B,H,W].
    """
    index = torch.zeros_like(teacher_logits[:, :1], dtype=torch.int64)
    teacher_logits = teacher_logits.detach().to(logits.dtype)
    return _TeacherBinary.apply(logits, teacher_logits, index, index.bool(), 0, teacher_logits.shape[1])


def teacher_and_label_binary(logits: Tensor, teacher_logits: Tensor, target: Tensor, *, first: int) -> Tensor:
    """Sums binary cross entropies over all K classes, some to the teacher's probabilities and some to the label.

    The target of class c is sigmoid(teacher_logits_c) for first <= c < K_old; of the other classes it is 1 where c is
    the label and 0 elsewhere.

    Args:
        logits: float [B,K,H,W], K >= K_old.
        teacher_logits: float [B,K_old,H,W], gets no gradient.
        target: int64 [B,H,W]; a label of K or more is none of the classes.
        first: the first class whose target is the teacher's.

    Returns:
        float [B,H,W].
    """
    num_old, num_classes = teacher_logits.shape[1], logits.shape[1]
    target = target.long().unsqueeze(1)
    positive = ((target >= num_old) & (target < num_classes)) | (target < first)
    teacher_logits = teacher_logits.detach().to(logits.dtype)
    return _TeacherBinary.apply(logits, teacher_logits, target * positive, positive, first, num_classes)


class _TeacherBinary(torch.autograd.Function):
    """Keeps logits and labels, where autograd would keep the targets and softplus of K channels.

    Works in bands of rows, so that little memory is needed beside the gradient.
    """

    @staticmethod
    def forward(
        ctx: Any, logits: Tensor, teacher_logits: Tensor, index: Tensor, positive: Tensor, first: int, num_summed: int
    ) -> Tensor:
        """Returns float [B,H,W], the sum over the first num_summed channels.

        index: int64 [B,1,H,W], the class whose target is 1 where positive, bool [B,1,H,W]; first: the first channel
        whose target is the teacher's.
        """
        ctx.save_for_backward(logits, teacher_logits, index, positive)
        ctx.first, ctx.num_summed = first, num_summed
        bands = zip(logits[:, :num_summed].chunk(BANDS, 2), teacher_logits.chunk(BANDS, 2))
        value = torch.cat([_binary(student, teacher, first) for student, teacher in bands], 1)
        return value.sub_((logits.gather(1, index) * positive).squeeze(1))

    @staticmethod
    def backward(ctx: Any, to_value: Tensor) -> tuple[Tensor, None, None, None, None, None]:
        """sigmoid(z) - t; the channels that are not summed get 0."""
        logits, teacher_logits, index, positive = ctx.saved_tensors
        to_value = to_value.unsqueeze(1)
        grad = logits.sigmoid()
        grad[:, ctx.num_summed :].zero_()
        taught = grad[:, ctx.first : teacher_logits.shape[1]]
        for student, teacher in zip(taught.chunk(BANDS, 2), teacher_logits[:, ctx.first :].chunk(BANDS, 2)):
            student.sub_(teacher.sigmoid())
        grad.mul_(to_value).scatter_add_(1, index, (to_value * positive).neg_())
        return grad, None, None, None, None, None


def _binary(logits: Tensor, teacher_logits: Tensor, first: int) -> Tensor:
    """The sum without the term of the label, float [B,H,W]; log(1 + exp(z)) = max(z, 0) + log(1 + exp(-|z|))."""
    value = logits.abs().neg_().exp_().log1p_().sum(1)
    value += logits.clamp_min(0).sum(1)
    taught = logits[:, first : teacher_logits.shape[1]]
    return value.sub_(teacher_logits[:, first:].sigmoid().mul_(taught).sum(1))
