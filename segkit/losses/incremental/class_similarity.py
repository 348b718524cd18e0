"""REMINDER: distillation of the old classes that resemble the class of a pixel.

Phan et al., Class Similarity Weighted Knowledge Distillation for Continual Semantic Segmentation, CVPR 2022. B batch, K
classes of the step before, C classes with those of this step, H W image, D channels.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from segkit.constraints.named import NonNegativeFloat, PositiveFloat
from segkit.losses.base import Loss
from segkit.ops.averaging import full_precision
from segkit.ops.incremental.old_classes import num_old_classes
from segkit.ops.incremental.prototypes import class_sums, labels_at
from segkit.registry import LOSSES
from segkit.types import IGNORE

LEAST_TARGET = 1e-7
"""Added to each weighted probability of the teacher, as the authors do."""


@LOSSES.register
class ClassSimilarityKD(Loss):
    """Distillation with a weight for each old class: how much it resembles the class of the pixel.

    -T^2 sum_c w_c q_c log p_c with q = softmax(teacher / T) and p the softmax of the student's first K logits / T,
    averaged over the labelled pixels. w is the softmax over the old classes of the cosines between their stored mean
    features and the mean feature, in this batch, of the pixel's class, over the positions whose center has that label
    (the authors resize the features to the image). REMINDER, section 3.3; row weight 0.5 beside PLOP's rows. The
    teacher and the means get no gradient. The runner gives "class_means".

    Args:
        temperature: T.
        delta: a weight below delta / K becomes 0.
        ignore: label that is left out.
    """

    row = dict(on=["logits", "teacher.logits", "embedding", "class_means"], target="mask", at="native")

    def __init__(self, temperature: PositiveFloat = 3.0, delta: NonNegativeFloat = 0.0, ignore: int = IGNORE):
        super().__init__()
        self.temperature, self.delta, self.ignore = temperature, delta, ignore

    def forward(
        self, logits: Tensor, teacher_logits: Tensor, features: Tensor, old_means: Tensor, target: Tensor
    ) -> Tensor:
        """Computes the loss.

        Args:
            logits: float [B,C,h,w].
            teacher_logits: float [B,K,h,w], K <= C.
            features: float [B,D,h,w] of the student.
            old_means: float [K,D], mean feature of each old class.
            target: int64 [B,H,W].

        Returns:
            float [], 0 where nothing is labelled.
        """
        num_old_classes(logits, teacher_logits, needs_new=False)
        features = full_precision(features.detach())
        labels = torch.where(target == self.ignore, -1, target.long())
        # the mean is the sum but for its length, which the cosine does not see
        sums = class_sums(features, labels_at(labels, (features.shape[2], features.shape[3])), logits.shape[1])
        weight = similarity_weights(sums, old_means.detach().to(features.dtype), self.delta)
        size = (target.shape[1], target.shape[2])
        student, taught = (
            F.interpolate(full_precision(x), size, mode="bilinear", align_corners=False)
            for x in (logits, teacher_logits.detach())
        )
        return weighted_distillation(student, taught, weight, labels, temperature=self.temperature)


def similarity_weights(means: Tensor, old_means: Tensor, delta: float = 0.0) -> Tensor:
    """Softmax over old classes of their cosines with other classes.

    Args:
        means: float [C,D].
        old_means: float [K,D].
        delta: a weight below delta / K becomes 0.

    Returns:
        float [C,K].
    """
    weight = (F.normalize(means, dim=1) @ F.normalize(old_means, dim=1).t()).softmax(1)
    return torch.where(weight < delta / len(old_means), 0.0, weight)


def weighted_distillation(
    logits: Tensor, teacher_logits: Tensor, weight: Tensor, labels: Tensor, *, temperature: float
) -> Tensor:
    """Averages -T^2 sum_c w_c q_c log p_c over pixels.

    Args:
        logits: float [B,C,H,W].
        teacher_logits: float [B,K,H,W].
        weight: float [C,K], the weights of the old classes at a pixel of each class.
        labels: int64 [B,H,W]; a pixel of a negative label is left out.
        temperature: T.

    Returns:
        float [].
    """
    valid = labels >= 0
    of_pixels = weight[labels.clamp_min(0)].permute(0, 3, 1, 2).to(logits.dtype)
    taught = (teacher_logits.detach().to(logits.dtype) / temperature).softmax(1) * of_pixels + LEAST_TARGET
    learned = (logits[:, : teacher_logits.shape[1]] / temperature).log_softmax(1)
    values = -(taught * learned).sum(1) * valid
    return temperature**2 * values.sum() / valid.sum().clamp_min(1)
