"""MiB: losses that model the background of a class step.

Cermelli et al., Modeling the Background for Incremental Learning in Semantic Segmentation, CVPR 2020,
https://arxiv.org/abs/2002.00718. B batch, K classes of the step before with the background, C classes with those of
this step, H W image.
"""

from typing import Annotated

from torch import Tensor

from segkit.constraints.named import OneOf
from segkit.losses.base import Loss
from segkit.losses.incremental.incremental_kd import OldClassKD
from segkit.ops.averaging import AVERAGES, checked_average, full_precision
from segkit.ops.incremental.merged_softmax import merged_cross_entropy, merged_distillation
from segkit.ops.incremental.old_classes import labelled_mean, num_old_classes
from segkit.registry import LOSSES
from segkit.types import IGNORE


@LOSSES.register
class UnbiasedCE(Loss):
    """Unbiased cross entropy: the background of a step stands for itself and all earlier classes.

    -log p_y of a label y >= K of this step, and -log(p_0 + ... + p_(K-1)) of every other label: where a step labels
    only its own classes, its background holds all earlier ones. MiB, eq. 5. K is the width of the teacher's logits,
    which are not used otherwise.

    Args:
        average: "all" divides by all pixels, including ignored ones (the authors' training); "valid" by those that are
            not ignored (cssegmentation's), "global" by the valid ones of all processes.
        ignore: label that is left out.
    """

    row = dict(on=["logits", "teacher.logits"], target="mask")

    def __init__(self, average: Annotated[str, OneOf(AVERAGES)] = "all", ignore: int = IGNORE):
        super().__init__()
        self.average, self.ignore = checked_average(average), ignore

    def forward(
        self, logits: Tensor, teacher_logits: Tensor, target: Tensor, pixel_weight: Tensor | None = None
    ) -> Tensor:
        """Computes the loss.

        Args:
            logits: float [B,C,H,W].
            teacher_logits: float [B,K,h,w] with K < C.
            target: int64 [B,H,W].
            pixel_weight: float [B,H,W] or None; multiplies the loss of each pixel and leaves the divisor alone.

        Returns:
            float [], 0 where nothing is valid.
        """
        values = self.pixels(logits, teacher_logits, target)
        return labelled_mean(values, target, pixel_weight=pixel_weight, average=self.average, ignore=self.ignore)

    def pixels(self, logits: Tensor, teacher_logits: Tensor, target: Tensor) -> Tensor:
        """Returns the loss of each pixel, float [B,H,W], 0 on ignored ones."""
        num_old = num_old_classes(logits, teacher_logits, needs_new=True)
        return merged_cross_entropy(full_precision(logits), target, num_old, ignore=self.ignore)


@LOSSES.register
class UnbiasedKD(OldClassKD):
    """Unbiased distillation: to the teacher, the new classes are background.

    -(1/K) sum_c q_c log r_c with q = softmax(alpha teacher), r_c = p_c for the old classes and r_0 = p_0 + p_K + ... +
    p_(C-1) for the background. MiB, eq. 7; the division by K is the authors' code, the paper has none. A cross entropy:
    it does not end at 0. The teacher gets no gradient. MiB's row weight is 10, and 100 for the tasks that add one class
    at a time.

    Args:
        alpha: multiplies the teacher's logits only.
        average: as of UnbiasedCE. Without a target all pixels are valid.
        ignore: label that is left out.
    """

    def pixels(self, logits: Tensor, teacher_logits: Tensor) -> Tensor:
        """Returns the loss of each pixel, float [B,H,W]."""
        num_old_classes(logits, teacher_logits, needs_new=False)
        return merged_distillation(full_precision(logits), teacher_logits, alpha=self.alpha, merges_new=True)
