"""Binary cross entropies against a teacher's sigmoids. B batch, C classes of the student, K of the teacher, H W image.

Both functions sum log(1 + exp(z_c)) - t_c z_c over channels, the cross entropy of sigmoids to the targets t.
"""

import torch
from torch import Tensor

BANDS = 8


def teacher_binary(logits: Tensor, teacher_logits: Tensor) -> Tensor:
    """t_c = sigmoid(teacher_logits_c), over the first K channels.

    logits: float [B,C,H,W], C >= K; teacher_logits: float [B,K,H,W], gets no gradient -> float [B,H,W].
    """
    index = torch.zeros_like(teacher_logits[:, :1], dtype=torch.int64)
    teacher_logits = teacher_logits.detach().to(logits.dtype)
    return _TeacherBinary.apply(logits, teacher_logits, index, index.bool(), (0, teacher_logits.shape[1]))


def teacher_and_label_binary(logits: Tensor, teacher_logits: Tensor, target: Tensor, *, first: int) -> Tensor:
    """t_c = sigmoid(teacher_logits_c) for first <= c < K, of the other C classes 1 where they are the label, else 0.

    logits: float [B,C,H,W], C >= K; teacher_logits: float [B,K,H,W], gets no gradient; target: int64 [B,H,W], a label
    of C or more is none of the classes -> float [B,H,W].
    """
    num_old, num_classes = teacher_logits.shape[1], logits.shape[1]
    target = target.long().unsqueeze(1)
    positive = ((target >= num_old) & (target < num_classes)) | (target < first)
    teacher_logits = teacher_logits.detach().to(logits.dtype)
    return _TeacherBinary.apply(logits, teacher_logits, target * positive, positive, (first, num_classes))


class _TeacherBinary(torch.autograd.Function):
    """Keeps logits and labels, where autograd would keep the targets and softplus of C channels. Works in bands of
    rows, so that what it needs beside the gradient is small."""

    @staticmethod
    def forward(ctx, logits: Tensor, teacher_logits: Tensor, index: Tensor, positive: Tensor, span: tuple[int, int]):
        """index: int64 [B,1,H,W], whose target is 1 where positive: bool [B,1,H,W]; span: the first channel that the
        teacher tells, and the number of channels that are summed."""
        ctx.save_for_backward(logits, teacher_logits, index, positive)
        ctx.span = span
        bands = zip(logits[:, : span[1]].chunk(BANDS, 2), teacher_logits.chunk(BANDS, 2))
        value = torch.cat([_binary(own, teachers, span[0]) for own, teachers in bands], 1)
        return value.sub_((logits.gather(1, index) * positive).squeeze(1))

    @staticmethod
    def backward(ctx, to_value: Tensor):
        """sigmoid(z) - t; the channels that are not summed get 0."""
        logits, teacher_logits, index, positive = ctx.saved_tensors
        first, width = ctx.span
        to_value = to_value.unsqueeze(1)
        grad = logits.sigmoid()
        grad[:, width:].zero_()
        taught = grad[:, first : teacher_logits.shape[1]]
        for own, teachers in zip(taught.chunk(BANDS, 2), teacher_logits[:, first:].chunk(BANDS, 2)):
            own.sub_(teachers.sigmoid())
        grad.mul_(to_value).scatter_add_(1, index, (to_value * positive).neg_())
        return grad, None, None, None, None


def _binary(logits: Tensor, teacher_logits: Tensor, first: int) -> Tensor:
    """Without the part of the label -> float [B,H,W]. log(1 + exp(z)) = max(z, 0) + log(1 + exp(-|z|))."""
    value = logits.abs().neg_().exp_().log1p_().sum(1)
    value += logits.clamp_min(0).sum(1)
    taught = logits[:, first : teacher_logits.shape[1]]
    return value.sub_(teacher_logits[:, first:].sigmoid().mul_(taught).sum(1))
