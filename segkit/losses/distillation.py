"""Distillation of a teacher's class probabilities.

B batch, K classes, H W image.
"""

from typing import Annotated

from torch import Tensor

from segkit.constraints.named import OneOf, PositiveFloat
from segkit.losses.base import Loss
from segkit.ops.averaging import AVERAGES, checked_average, full_precision, mean_over
from segkit.registry import LOSSES
from segkit.types import IGNORE


@LOSSES.register
class KLDistillation(Loss):
    """Kullback-Leibler divergence of the student's class probabilities from the teacher's, averaged over pixels.

    T^2 sum_k q_k (log q_k - log p_k) with p = softmax(student / T) and q = softmax(teacher / T). Hinton et al., 2015,
    https://arxiv.org/abs/1503.02531, section 2: T^2 keeps the gradient's size. The teacher gets no gradient. FasterSeg
    divides by K as well (row weight 1 / K).

    Args:
        temperature: T.
        average: what the sum is divided by: the pixels whose label is not `ignore` ("valid"), all pixels ("all"), or
            the valid ones of all processes ("global"). Without a target all pixels are valid.
        ignore: label that is left out.
    """

    row = dict(on=["logits", "teacher.logits"])
    one_channel = "BinaryCrossEntropy"

    def __init__(
        self, temperature: PositiveFloat = 1.0, average: Annotated[str, OneOf(AVERAGES)] = "valid", ignore: int = IGNORE
    ):
        super().__init__()
        self.temperature, self.average, self.ignore = temperature, checked_average(average), ignore

    def forward(self, logits: Tensor, teacher_logits: Tensor, target: Tensor | None = None) -> Tensor:
        """Computes the loss.

        Args:
            logits: float [B,K,H,W] of the student.
            teacher_logits: float [B,K,H,W].
            target: int64 [B,H,W] or None; only tells which pixels are ignored.

        Returns:
            float [].
        """
        self.need_channels(logits)
        log_p = (full_precision(logits) / self.temperature).log_softmax(1)
        log_q = (full_precision(teacher_logits.detach()) / self.temperature).log_softmax(1).to(log_p.dtype)
        values = (log_q.exp() * (log_q - log_p)).sum(1) * self.temperature**2
        valid = values.new_ones(values.shape) if target is None else target != self.ignore
        return mean_over((values * valid).sum(), valid.sum(), values.numel(), self.average)
