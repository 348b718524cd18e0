"""MAL: a network that segments the crop of one box, taught by boxes and by its own teacher.

Lan et al., Vision Transformers Are Good Mask Auto-Labelers, CVPR 2023, https://arxiv.org/abs/2301.03992. B crops, H W
crop, h w masks.
"""

import torch
from torch import Tensor

from segkit.constraints.named import NonNegativeFloat, NonNegativeInt, PositiveFloat, Rounds
from segkit.losses.base import OBJECTS_VARY, Loss
from segkit.ops.averaging import full_precision
from segkit.ops.instances.box_projection import box_projection, vector_dice
from segkit.ops.instances.mean_field import soft_mean_field
from segkit.ops.resizing import resize
from segkit.registry import LOSSES

DICE_EPS = 0.002
"""0.001 on each of the two sums of squares."""

NO_DIVISION_BY_ZERO = 1e-4
"""Added to the number of crops, as in the authors' code."""


@LOSSES.register
class MAL(Loss):
    """MAL loss: box projection, and Dice to the mean field of the student's and the teacher's mask.

    mil, the mean box projection (eq. 2 of the paper), and crf, the mean Dice to pseudo labels (eq. 3): the soft mean
    field, on the image, of the mean of both masks (section 3.3). Both weights rise from 0 in the first epoch.

    Args:
        mil: weight of the box projection.
        crf: weight of the Dice to pseudo labels.
        mil_warm_up: steps over which mil comes in.
        crf_warm_up: steps over which crf comes in.
        first_epoch: steps after which both have their full weight, however long the warm-ups are; 0 for no end.
        rounds: of the mean field.
        zeta: color difference, of the normalized image, that counts as far in the mean field.
    """

    row = dict(on=["logits", "teacher.logits", "image"], target="mask", at="native")
    no_compile = OBJECTS_VARY
    calls: Tensor

    def __init__(
        self,
        mil: NonNegativeFloat = 4.0,
        crf: NonNegativeFloat = 0.5,
        mil_warm_up: NonNegativeInt = 1000,
        crf_warm_up: NonNegativeInt = 4000,
        first_epoch: NonNegativeInt = 0,
        rounds: Rounds = 100,
        zeta: PositiveFloat = 0.1,
    ):
        super().__init__()
        self.mil, self.crf, self.rounds, self.zeta = mil, crf, rounds, zeta
        self.mil_warm_up, self.crf_warm_up, self.first_epoch = mil_warm_up, crf_warm_up, first_epoch
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))

    def forward(self, logits: Tensor, teacher_logits: Tensor, image: Tensor, mask: Tensor) -> dict[str, Tensor]:
        """Computes the loss.

        Args:
            logits: float [B,1,h,w] of the student.
            teacher_logits: float [B,1,h,w] of the teacher; gets no gradient.
            image: float [B,3,H,W], normalized, as the student sees it.
            mask: [B,H,W], the box as a mask, 1 inside.

        Returns:
            float32 [] each: mil, crf.
        """
        student = full_precision(logits)[:, 0].sigmoid()
        size = student.shape[1:]
        box = resize((mask == 1).to(student.dtype), size=size)
        projection = box_projection(student, box, eps=DICE_EPS)
        pseudo = self.pseudo_labels(student, full_precision(teacher_logits)[:, 0].sigmoid(), box, image)
        dice = vector_dice(student.flatten(1), pseudo.flatten(1).to(student.dtype), eps=DICE_EPS)
        step = self.calls.clone()
        if self.training:
            self.calls += 1
        return {
            "mil": self.mil * self.factor(step, self.mil_warm_up) * projection.sum() / (len(box) + NO_DIVISION_BY_ZERO),
            "crf": self.crf * self.factor(step, self.crf_warm_up) * dice.mean(),
        }

    def pseudo_labels(self, student: Tensor, teacher: Tensor, box: Tensor, image: Tensor) -> Tensor:
        """Computes the masks that teach the student, bool [B,h,w].

        Args:
            student, teacher: float [B,h,w], probabilities.
            box: float [B,h,w], box masks.
            image: float [B,3,H,W], normalized.
        """
        small = resize(full_precision(image), size=student.shape[1:])
        mean = (student.detach() + teacher.detach()) / 2
        return soft_mean_field(mean, box, small, rounds=self.rounds, zeta=self.zeta) > 0.5

    def factor(self, step: Tensor, warm_up: int) -> Tensor:
        """Returns the factor of a weight at a step, int64 [], counted from 0: float32 [] in 0..1."""
        risen = (step / max(warm_up, 1)).clamp(max=1.0) if warm_up else torch.ones_like(step, dtype=torch.float32)
        return torch.where(step >= self.first_epoch, 1.0, risen) if self.first_epoch else risen
