"""Cross entropies of softmaxes in which classes are summed: the background of incremental learning.

B batch, C classes of the student, K of them the teacher's, H W image. The functions keep the logits and maps of one
channel for the backward pass and write the gradient in closed form into one tensor, where autograd would hold several
of C channels.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


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


def _background_and_all(logits: Tensor, num_old: int) -> tuple[Tensor, Tensor]:
    """-> log-sum-exps of channel 0 with those from num_old on, and of all channels, float [B,1,H,W]."""
    background = logits[:, :1]
    if logits.shape[1] > num_old:
        background = torch.logaddexp(background, logits[:, num_old:].logsumexp(1, keepdim=True))
    if num_old == 1:
        return background, background
    return background, torch.logaddexp(background, logits[:, 1:num_old].logsumexp(1, keepdim=True))


class _MergedDistillation(torch.autograd.Function):
    @staticmethod
    def forward(ctx, logits: Tensor, teacher_logits: Tensor, alpha: float, width: int):
        """width: number of student channels that take part, K or C."""
        num_old = teacher_logits.shape[1]
        background, every = _background_and_all(logits[:, :width], num_old)
        q = (teacher_logits if alpha == 1 else teacher_logits * alpha).softmax(1)
        log_p = logits[:, :num_old] - every
        log_p[:, :1] = background - every
        ctx.save_for_backward(logits, teacher_logits, background, every)
        ctx.alpha, ctx.width = alpha, width
        return log_p.mul_(q).sum(1).div_(-num_old)

    @staticmethod
    def backward(ctx, to_value: Tensor):
        """With the log-sum-exps G of the merged background and D of all: exp(z - D) - q for old classes, and
        exp(z - G) (exp(G - D) - q_0) for the background and what it takes in."""
        logits, teacher_logits, background, every = ctx.saved_tensors
        num_old, width = teacher_logits.shape[1], ctx.width
        to_value = (to_value / num_old).unsqueeze(1)
        q = (teacher_logits if ctx.alpha == 1 else teacher_logits * ctx.alpha).softmax(1)
        factor = (background - every).exp_().sub_(q[:, :1]).mul_(to_value)
        grad = logits.clone()
        grad[:, :1].sub_(background).exp_().mul_(factor)
        grad[:, 1:num_old].sub_(every).exp_().sub_(q[:, 1:]).mul_(to_value)
        if width > num_old:
            grad[:, num_old:].sub_(background).exp_().mul_(factor)
        else:
            grad[:, num_old:].zero_()
        return grad, None, None, None
