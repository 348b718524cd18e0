"""PLOP: pseudo labels from the step before, and distillation of pooled features.

Douillard et al., PLOP, CVPR 2021, https://arxiv.org/abs/2011.11390. B batch, K classes of the step before with the
background, C classes with those of this step, H W image, h w features.
"""

import math
from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor

from segkit import dist
from segkit.constraints.named import Fraction, NonNegativeFloat, OneOf, PositiveFloat, PositiveInt
from segkit.losses.base import Loss
from segkit.ops.averaging import AVERAGES, checked_average, float_vector, full_precision
from segkit.ops.incremental.local_pod import local_pod
from segkit.ops.incremental.old_classes import labelled_mean, num_old_classes
from segkit.ops.incremental.pseudo_labels import entropy_histogram, median_thresholds, pseudo_labels
from segkit.registry import LOSSES
from segkit.types import IGNORE


@LOSSES.register
class PseudoLabelCE(Loss):
    """Cross entropy with pseudo labels: the teacher labels the pixels of earlier classes and the background.

    -f log p_y. Where the teacher's entropy is below the threshold of the class it predicts, that class replaces a label
    of earlier classes or the background; elsewhere such pixels are left out. f is the accepted share of them in the
    image. PLOP, section 3.3, eq. 7 to 9. The thresholds are medians over the training images: `observe` takes each
    batch of a pass over them, `finish` ends it, both before the step's training; they are part of the state.

    Args:
        thresholds: K numbers that replace such a pass.
        floor: least threshold.
        published_median: finds the median as the authors' code does, which sums bin numbers instead of counts.
        average: "all" divides by all pixels (the authors'), "valid" by those with a label after the replacement,
            "global" by those of all processes.
        ignore: label that is left out.
    """

    row = dict(on=["logits", "teacher.logits"], target="mask")
    thresholds: Tensor

    def __init__(
        self,
        thresholds: list[Fraction] | None = None,
        floor: NonNegativeFloat = 0.001,
        published_median: bool = False,
        average: Annotated[str, OneOf(AVERAGES)] = "all",
        ignore: int = IGNORE,
    ):
        super().__init__()
        self.register_buffer("thresholds", float_vector(thresholds or []), persistent=False)
        self.floor, self.published_median = floor, published_median
        self.average, self.ignore = checked_average(average), ignore
        self._histogram: Tensor | None = None

    def forward(self, logits: Tensor, teacher_logits: Tensor, target: Tensor) -> Tensor:
        """Computes the loss.

        Args:
            logits: float [B,C,H,W].
            teacher_logits: float [B,K,H,W], K <= C.
            target: int64 [B,H,W].

        Returns:
            float [], 0 where nothing is valid.

        Raises:
            ValueError: the thresholds are not those of K classes.
        """
        num_old = num_old_classes(logits, teacher_logits, needs_new=False)
        if len(self.thresholds) != num_old:
            raise ValueError(
                f"PseudoLabelCE has thresholds of {len(self.thresholds)} classes, the teacher knows {num_old}: "
                "observe() every training batch and finish() before the step, or give `thresholds`"
            )
        logits, teacher_logits = full_precision(logits), full_precision(teacher_logits.detach())
        labels, share = pseudo_labels(
            teacher_logits, target, self.thresholds, num_classes=logits.shape[1], ignore=self.ignore
        )
        values = F.cross_entropy(logits, labels, ignore_index=self.ignore, reduction="none")
        weight = share.to(values.dtype).view(-1, 1, 1).expand_as(values)
        return labelled_mean(values, labels, pixel_weight=weight, average=self.average, ignore=self.ignore)

    @property
    def is_ready(self) -> bool:
        """Whether the thresholds are known."""
        return len(self.thresholds) > 0

    @torch.no_grad()
    def observe(self, teacher_logits: Tensor, target: Tensor, num_classes: int) -> None:
        """Counts the teacher's entropies of a batch.

        Args:
            teacher_logits: float [B,K,H,W], resized to the labels.
            target: int64 [B,H,W].
            num_classes: C.
        """
        counts = entropy_histogram(full_precision(teacher_logits), target, num_classes)
        self._histogram = counts if self._histogram is None else self._histogram + counts

    def finish(self) -> None:
        """Computes the thresholds from what all processes observed.

        Raises:
            ValueError: no batch was observed.
        """
        if self._histogram is None:
            raise ValueError("PseudoLabelCE.finish() was called before any batch was observed; call observe() first")
        counts = dist.all_reduce_sum(self._histogram)
        values = median_thresholds(counts, floor=self.floor, published=self.published_median)
        self.thresholds, self._histogram = values.to(self.thresholds.device), None

    def get_extra_state(self) -> dict:
        """Returns the thresholds, as many as there are old classes."""
        return {"thresholds": self.thresholds}

    def set_extra_state(self, state: dict) -> None:
        """Restores the thresholds."""
        self.thresholds = state["thresholds"].to(self.thresholds.device)


@LOSSES.register
class LocalPOD(Loss):
    """Distillation of pooled features (local POD): distance of the pooled maps of student and teacher.

    sqrt(C / N) / L sum_l factor_l |pod(x_l^2) - pod(t_l^2)| over L maps x of the student and t of the teacher, where
    pod are the means of rows and columns in the cells of grids, and N = C - K. PLOP, eq. 4 to 6; the squares and the
    factor sqrt(C / N) are the authors' code. The first pair of maps are the logits, whose new classes are added to the
    background, and which have a factor of their own. The norm is over channels and cells, averaged over the batch. The
    teacher gets no gradient. A row that distils features names them in pairs: on=["logits", "teacher.logits",
    "features.0", "teacher.features.0", ...].

    Args:
        factor: of the features' distances.
        logits_factor: of the logits' distance.
        scales: an s x s grid of cells for each s; 1 must be among them.
        leak: negative slope of the leaky ReLU at the end of the features, all but the last pair, the embedding: they
            are compared as they were before it, as the authors do. 0.01 for the maps of ABNResNet; 1 takes them as
            they are.

    Raises:
        ValueError: 1 is not among the scales.
    """

    row = dict(on=["logits", "teacher.logits"], at="native")

    def __init__(
        self,
        factor: NonNegativeFloat = 0.01,
        logits_factor: NonNegativeFloat = 0.0005,
        scales: tuple[PositiveInt, ...] = (1, 2, 4),
        leak: PositiveFloat = 1.0,
    ):
        super().__init__()
        self.factor, self.logits_factor, self.scales, self.leak = factor, logits_factor, tuple(scales), leak
        if not self.scales or min(self.scales) != 1:
            raise ValueError(
                f"scales = {scales}: 1 must be among the s of s x s grids, as finer ones may not fit a map"
            )

    def forward(self, logits: Tensor, teacher_logits: Tensor, *features: Tensor) -> Tensor:
        """Computes the loss.

        Args:
            logits: float [B,C,h,w].
            teacher_logits: float [B,K,h,w], K < C.
            features: float [B,C_l,h_l,w_l], pairs of the student's and the teacher's maps.

        Returns:
            float [].

        Raises:
            ValueError: a map has no partner of its shape.
        """
        num_old, num_classes = num_old_classes(logits, teacher_logits, needs_new=True), logits.shape[1]
        logits = full_precision(logits)
        background = logits[:, :1] + logits[:, num_old:].sum(1, keepdim=True)
        merged = torch.cat([background, logits[:, 1:num_old]], 1)
        total = self.logits_factor * self._distance(merged, teacher_logits)
        if len(features) % 2:
            raise ValueError(f"LocalPOD takes pairs of a student's and a teacher's map, and got {len(features)} maps")
        for position, (student, teacher) in enumerate(zip(features[::2], features[1::2])):
            student = full_precision(student)
            if self.leak != 1 and 2 * position + 2 < len(features):
                student, teacher = (torch.where(x < 0, x / self.leak, x) for x in (student, full_precision(teacher)))
            total = total + self.factor * self._distance(student, teacher)
        schedule = math.sqrt(num_classes / (num_classes - num_old))
        return total * (schedule / (1 + len(features) // 2))

    def _distance(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Mean norm of the pooled difference; as pooling is linear, the difference is pooled once."""
        if student.shape != teacher.shape:
            raise ValueError(
                f"a student's map is {tuple(student.shape)}, the teacher's {tuple(teacher.shape)}: must be of the same "
                "shape"
            )
        difference = student.square() - teacher.detach().to(student.dtype).square()
        return torch.linalg.vector_norm(local_pod(difference, self.scales), dim=1).mean()
