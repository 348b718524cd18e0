"""iCaRL's distillation by sigmoids (LwF-MC), in the two forms of MiB's code.

Rebuffi et al., iCaRL, CVPR 2017, https://arxiv.org/abs/1611.07725, eq. 1. B batch, K classes of the step before, C
classes with those of this step, H W image. The first step trains with BinaryCrossEntropy, sum_classes=True and
average="all".
"""

from typing import Annotated

from torch import Tensor

from segkit.constraints.named import OneOf
from segkit.losses.base import Loss
from segkit.ops.averaging import AVERAGES, checked_average, full_precision
from segkit.ops.incremental.old_classes import labelled_mean, num_old_classes
from segkit.ops.incremental.teacher_binary import teacher_and_label_binary, teacher_binary
from segkit.registry import LOSSES
from segkit.types import IGNORE


@LOSSES.register
class ICaRLDistillation(Loss):
    """Binary cross entropy of the old classes' logits to the teacher's sigmoids (LwF-MC).

    Summed over the first K classes, averaged over pixels; iCaRL, eq. 1, second sum. LwF-MC is this with row weight 10
    beside BinaryCrossEntropy on all classes (sum_classes=True, average="all"). The teacher gets no gradient.

    Args:
        average: "all" divides by all pixels (the published form), "valid" by those whose label is not `ignore`,
            "global" by the valid ones of all processes. Without a target all pixels are valid.
        ignore: label that is left out.
    """

    row = dict(on=["logits", "teacher.logits"])

    def __init__(self, average: Annotated[str, OneOf(AVERAGES)] = "all", ignore: int = IGNORE):
        super().__init__()
        self.average, self.ignore = checked_average(average), ignore

    def forward(self, logits: Tensor, teacher_logits: Tensor, target: Tensor | None = None) -> Tensor:
        """Computes the loss.

        Args:
            logits: float [B,C,H,W].
            teacher_logits: float [B,K,H,W], K <= C.
            target: int64 [B,H,W] or None; only tells which pixels are ignored.

        Returns:
            float [].
        """
        num_old_classes(logits, teacher_logits, needs_new=False)
        values = teacher_binary(full_precision(logits), teacher_logits)
        return labelled_mean(values, target, pixel_weight=None, average=self.average, ignore=self.ignore)


@LOSSES.register
class ICaRLDisjoint(Loss):
    """Binary cross entropy of all logits: to the teacher's sigmoids for old classes, to the label for new ones.

    Summed over the C classes, averaged over pixels. iCaRL, eq. 1; `--icarl_disjoint` of MiB's code. The teacher gets no
    gradient.

    Args:
        background: the target of the background is the label's and not the teacher's (`--icarl_bkg`).
        keep_void: pixels labelled `ignore` are distilled too, with target 0 for all new classes, and for the background
            where `background` is set (the published form). False leaves them out.
        average: "all" divides by all pixels (the published form), "valid" by those that take part, "global" by those
            of all processes.
        ignore: label of pixels without a class.
    """

    row = dict(on=["logits", "teacher.logits"], target="mask")

    def __init__(
        self,
        background: bool = False,
        keep_void: bool = True,
        average: Annotated[str, OneOf(AVERAGES)] = "all",
        ignore: int = IGNORE,
    ):
        super().__init__()
        self.background, self.keep_void = background, keep_void
        self.average, self.ignore = checked_average(average), ignore

    def forward(self, logits: Tensor, teacher_logits: Tensor, target: Tensor) -> Tensor:
        """Computes the loss.

        Args:
            logits: float [B,C,H,W].
            teacher_logits: float [B,K,H,W], K <= C.
            target: int64 [B,H,W].

        Returns:
            float [].
        """
        num_old_classes(logits, teacher_logits, needs_new=False)
        logits = full_precision(logits)
        # C is no class, whatever number `ignore` is
        label = target.long().masked_fill(target == self.ignore, logits.shape[1])
        values = teacher_and_label_binary(logits, teacher_logits, label, first=int(self.background))
        void = None if self.keep_void else target
        return labelled_mean(values, void, pixel_weight=None, average=self.average, ignore=self.ignore)
