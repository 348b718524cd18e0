"""Losses of SSUL: Cha et al., Semantic Segmentation with Unknown Label for Exemplar-based Class-Incremental Learning.

NeurIPS 2021, https://arxiv.org/abs/2106.11562. The outputs are unknown objects, the background and the classes 1, 2,
...: class k is output k + 1. B batch, O outputs of the network, P of the step before, H W image.
"""

from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor

from segkit.constraints.named import Fraction, OneOf
from segkit.losses.base import Loss
from segkit.ops.averaging import AVERAGES, checked_average, full_precision, mean_over
from segkit.ops.incremental.old_classes import num_old_classes
from segkit.registry import LOSSES
from segkit.types import IGNORE, UNKNOWN


@LOSSES.register
class UnknownBCE(Loss):
    """Binary cross entropy of every output, summed over outputs, mean over pixels: SSUL's first step.

    Args:
        unknown: which pixels train the output for unknown objects: "salient" (those of the background that the data
            set's saliency maps mark) or "background" (all of it, as on ADE20K; the background's own output then has no
            positive).
        average: "valid" divides by the pixels that are not ignored, "all" by all, "global" by the valid ones of all
            processes.
        ignore: label that is left out.
    """

    row = dict(on="logits", target="mask")

    def __init__(
        self,
        unknown: Annotated[str, OneOf(("salient", "background"))] = "background",
        average: Annotated[str, OneOf(AVERAGES)] = "valid",
        ignore: int = IGNORE,
    ):
        super().__init__()
        self.unknown, self.average, self.ignore = unknown, checked_average(average), ignore

    def outputs_of(self, target: Tensor) -> Tensor:
        """Returns the number of the output that each pixel is of, int64 [B,H,W], the label `ignore` as it is."""
        background = 0 if self.unknown == "background" else 1
        outputs = torch.where(target == 0, background, target.long() + 1)
        outputs = torch.where(target == UNKNOWN, 0, outputs)
        return torch.where(target == self.ignore, self.ignore, outputs)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Computes the loss.

        Args:
            logits: float [B,O,H,W].
            target: int64 [B,H,W].

        Returns:
            float [], 0 where nothing is valid.
        """
        return self.mean(logits, self.outputs_of(target))

    def mean(self, logits: Tensor, outputs: Tensor) -> Tensor:
        """Returns the loss of logits [B,O,H,W] and the output that each pixel is of, int64 [B,H,W]."""
        logits = full_precision(logits)
        valid = outputs != self.ignore
        of_pixel = logits.gather(1, torch.where(valid, outputs, 0).unsqueeze(1)).squeeze(1)
        values = (F.softplus(logits).sum(1) - of_pixel) * valid
        return mean_over(values.sum(), valid.sum(), values.numel(), self.average)


@LOSSES.register
class PseudoLabelBCE(UnknownBCE):
    """UnknownBCE with pseudo labels: SSUL's later steps.

    Where a pixel is unknown or background, and the teacher's largest sigmoid is that of an old class and at least the
    threshold, that class replaces the label.

    Args:
        threshold: 0.7 in the paper.
        unknown: as of UnknownBCE.
        average: as of UnknownBCE.
        ignore: label that is left out.
    """

    row = dict(on=["logits", "teacher.logits"], target="mask")

    def __init__(
        self,
        threshold: Fraction = 0.7,
        unknown: Annotated[str, OneOf(("salient", "background"))] = "background",
        average: Annotated[str, OneOf(AVERAGES)] = "valid",
        ignore: int = IGNORE,
    ):
        super().__init__(unknown, average, ignore)
        self.threshold = threshold

    @torch.no_grad()
    def replaced(self, teacher_logits: Tensor, outputs: Tensor) -> Tensor:
        """Returns the output that each pixel is of after the replacement, int64 [B,H,W], or `ignore`.

        Args:
            teacher_logits: float [B,P,H,W].
            outputs: of `outputs_of`.
        """
        probability, best = teacher_logits.sigmoid().max(1)
        is_replaced = (outputs <= 1) & (best > 1) & (probability >= self.threshold)
        return torch.where(is_replaced, best, outputs)

    def forward(self, logits: Tensor, teacher_logits: Tensor, target: Tensor) -> Tensor:  # type: ignore[override]
        """Computes the loss.

        Args:
            logits: float [B,O,H,W].
            teacher_logits: float [B,P,H,W], P <= O.
            target: int64 [B,H,W].

        Returns:
            float [], 0 where nothing is valid.
        """
        num_old_classes(logits, teacher_logits, needs_new=False)
        return self.mean(logits, self.replaced(full_precision(teacher_logits), self.outputs_of(target)))
