"""Distillation of the model of the step before, by its logits or its features.

B batch, K classes of that model, C of the student, H W image.
"""

from typing import Annotated

import torch.nn.functional as F
from torch import Tensor

from segkit.constraints.named import NonNegativeFloat, OneOf
from segkit.losses.base import Loss
from segkit.ops.averaging import AVERAGES, checked_average, full_precision
from segkit.ops.incremental.merged_softmax import merged_distillation
from segkit.ops.incremental.old_classes import labelled_mean, num_old_classes
from segkit.registry import LOSSES
from segkit.types import IGNORE


@LOSSES.register
class OldClassKD(Loss):
    """Learning without Forgetting: cross entropy of the old classes' softmax to the teacher's.

    -(1/K) sum_c q_c log p_c with q = softmax(alpha teacher) and p the softmax of the student's first K logits. Li and
    Hoiem, Learning without Forgetting, ECCV 2016, https://arxiv.org/abs/1606.09282, eq. 2, in the form that MiB
    compares with (LwF) and that ILT adds to its feature term; both with row weight 100. A cross entropy: it does not
    end at 0. The teacher gets no gradient.

    Args:
        alpha: multiplies the teacher's logits only.
        average: "all" divides by all pixels (the published form), "valid" by those whose label is not `ignore`,
            "global" by the valid ones of all processes. Without a target all pixels are valid.
        ignore: label that is left out.
    """

    row = dict(on=["logits", "teacher.logits"])

    def __init__(
        self, alpha: NonNegativeFloat = 1.0, average: Annotated[str, OneOf(AVERAGES)] = "all", ignore: int = IGNORE
    ):
        super().__init__()
        self.alpha, self.average, self.ignore = alpha, checked_average(average), ignore

    def forward(
        self,
        logits: Tensor,
        teacher_logits: Tensor,
        target: Tensor | None = None,
        pixel_weight: Tensor | None = None,
    ) -> Tensor:
        """Computes the loss.

        Args:
            logits: float [B,C,H,W].
            teacher_logits: float [B,K,H,W], K <= C.
            target: int64 [B,H,W] or None; only tells which pixels are ignored.
            pixel_weight: float [B,H,W] or None; multiplies the loss of each pixel and leaves the divisor alone.

        Returns:
            float [].
        """
        values = self.pixels(logits, teacher_logits)
        return labelled_mean(values, target, pixel_weight=pixel_weight, average=self.average, ignore=self.ignore)

    def pixels(self, logits: Tensor, teacher_logits: Tensor) -> Tensor:
        """Returns the loss of each pixel, float [B,H,W]."""
        num_old_classes(logits, teacher_logits, needs_new=False)
        return merged_distillation(full_precision(logits), teacher_logits, alpha=self.alpha, merges_new=False)


@LOSSES.register
class FeatureMSE(Loss):
    """Mean squared error of features: the student keeps the features of the step before.

    (f - f_teacher)^2, averaged over all elements. Michieli and Zanuttigh, Incremental Learning Techniques for Semantic
    Segmentation (ILT), ICCV Workshops 2019, https://arxiv.org/abs/1907.13372, eq. 5; row weight 100, on the backbone's
    last features. A row names them: on=["features.3", "teacher.features.3"]. The teacher gets no gradient.
    """

    row = dict(at="native")

    def forward(self, features: Tensor, teacher_features: Tensor) -> Tensor:
        """Computes the loss.

        Args:
            features: float [B,C,h,w] of the student.
            teacher_features: float [B,C,h,w].

        Returns:
            float [].

        Raises:
            ValueError: the shapes differ.
        """
        if features.shape != teacher_features.shape:
            raise ValueError(
                f"the student's features are {tuple(features.shape)}, the teacher's {tuple(teacher_features.shape)}: "
                "must be of the same shape"
            )
        features = full_precision(features)
        return F.mse_loss(features, teacher_features.detach().to(features.dtype))
