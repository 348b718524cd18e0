"""Losses of DKD: Baek et al., Decomposed Knowledge Distillation for Class-Incremental Semantic Segmentation.

NeurIPS 2022, https://arxiv.org/abs/2210.05941. Every class is there or not there on its own, and the background is
where none is. Label 0 is the background, label k the class k. The outputs are those of the classes 1, 2, ... behind
`skip` others: 0 without, 1 behind the auxiliary output. B batch, O outputs of the network, P of the step before, H W
image.
"""

from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor

from segkit.constraints.named import NonNegativeFloat, NonNegativeInt, OneOf
from segkit.losses.base import Loss
from segkit.ops.averaging import full_precision
from segkit.ops.incremental.old_classes import num_old_classes
from segkit.ops.incremental.teacher_binary import teacher_binary
from segkit.registry import LOSSES
from segkit.types import IGNORE

IGNORED = ("negative", "left_out")
"""What an ignored pixel is to the losses: one without any of the classes, or no pixel at all."""


@LOSSES.register
class NewClassBCE(Loss):
    """Binary cross entropy of the classes that the step learns, mean over pixels, sum over classes.

    -w y log s(x) - (1 - y) log(1 - s(x)) with the sigmoid s. Every other label, old classes and background, is a
    negative of all. In the first step the row names the logits alone: on="logits". STAR's base loss is the same.

    Args:
        pos_weight: w; 1 on VOC and 35 on ADE20K for DKD, 4 and 30 for STAR.
        skip: outputs in front of that of class 1.
        ignored: whether ignored pixels are "negative" for each class (the authors') or "left_out".
        ignore: label of ignored pixels.
    """

    row = dict(on=["logits", "teacher.logits"], target="mask")

    def __init__(
        self,
        pos_weight: NonNegativeFloat = 1.0,
        skip: NonNegativeInt = 0,
        ignored: Annotated[str, OneOf(IGNORED)] = "negative",
        ignore: int = IGNORE,
    ):
        super().__init__()
        self.pos_weight, self.skip, self.ignored, self.ignore = pos_weight, skip, ignored, ignore

    def forward(self, logits: Tensor, *rest: Tensor) -> Tensor:
        """Computes the loss.

        Args:
            logits: float [B,O,H,W].
            *rest: the teacher's logits float [B,P,h,w], P < O, where there is a teacher; then the target, int64
                [B,H,W].

        Returns:
            float [], 0 where no pixel counts.
        """
        *teacher, target = rest
        first = max(self.skip, num_old_classes(logits, teacher[0], needs_new=True) if teacher else 0)
        logits = full_precision(logits[:, first:])
        labels = torch.arange(first - self.skip + 1, first - self.skip + 1 + logits.shape[1], device=target.device)
        is_valid = target != self.ignore
        is_class = (target.unsqueeze(1) == labels.view(-1, 1, 1)) & is_valid.unsqueeze(1)
        weight = torch.as_tensor(self.pos_weight, dtype=logits.dtype, device=logits.device)
        values = F.binary_cross_entropy_with_logits(
            logits, is_class.to(logits.dtype), pos_weight=weight, reduction="none"
        ).sum(1)
        if self.ignored == "negative":
            return values.mean()
        return (values * is_valid).sum() / is_valid.sum().clamp_min(1)


@LOSSES.register
class OldClassBCE(Loss):
    """Binary cross entropy of the old classes to the teacher's sigmoids, mean over pixels, sum over classes.

    The teacher gets no gradient. A cross entropy: it does not end at 0. DKD's row weight is 5.

    Args:
        skip: outputs in front of that of class 1, which are left out.
    """

    row = dict(on=["logits", "teacher.logits"])

    def __init__(self, skip: NonNegativeInt = 0):
        super().__init__()
        self.skip = skip

    def forward(self, logits: Tensor, teacher_logits: Tensor) -> Tensor:
        """Computes the loss.

        Args:
            logits: float [B,O,H,W].
            teacher_logits: float [B,P,H,W], P <= O.

        Returns:
            float [].
        """
        num_old_classes(logits, teacher_logits, needs_new=False)
        return teacher_binary(full_precision(logits[:, self.skip :]), teacher_logits[:, self.skip :]).mean()


@LOSSES.register
class DecomposedKD(OldClassBCE):
    """OldClassBCE of the positive and of the negative reasoning scores, summed: DKD's decomposed distillation.

    The scores are the logits by the positive and by the negative weights of the classifier alone, without the bias, at
    the map's own size: model=dict(reasoning=True). DKD's row weight is 5.

    Args:
        skip: outputs in front of that of class 1, which are left out.
    """

    row = dict(on=["positive", "teacher.positive", "negative", "teacher.negative"], at="native")

    def forward(self, positive: Tensor, teacher_positive: Tensor, *negative: Tensor) -> Tensor:
        """Computes the loss.

        Args:
            positive: float [B,O,h,w].
            teacher_positive: float [B,P,h,w], P <= O.
            *negative: the same two of the negative weights.

        Returns:
            float [].
        """
        return super().forward(positive, teacher_positive) + super().forward(*negative)


@LOSSES.register
class AuxiliaryBCE(Loss):
    """Binary cross entropy of DKD's auxiliary output to 0 at every pixel.

    New outputs start as its copies (runner.init = "auxiliary"): as classes that are nowhere.
    """

    row = dict(on="auxiliary")

    def forward(self, auxiliary: Tensor) -> Tensor:
        """Computes the loss of float [B,1,H,W], a float []."""
        return F.softplus(full_precision(auxiliary)).mean()
