"""BoundaryCE of CFR-ICL, Sun et al., AAAI 2024, https://arxiv.org/abs/2303.05620: clicked masks along their outline.

It is in the authors' code and in none of their configs. B batch, K channels, H W image.
"""

from typing import Annotated

import torch.nn.functional as F
from torch import Tensor

from segkit.constraints.named import OneOf
from segkit.losses.base import Loss
from segkit.ops.averaging import AVERAGES, checked_average, full_precision, mean_over
from segkit.ops.edges import meeting_pixels
from segkit.ops.pixel_targets import dense_target
from segkit.registry import LOSSES


@LOSSES.register
class BoundaryCE(Loss):
    """Binary cross entropy of the pixels on both sides of a mask's outline: a second row beside NormalizedFocal.

    A pixel takes part if one of its four neighbours has the other label, above 0.5 or not. The image's border and
    ignored pixels make no outline. BoundaryBCE, in contrast, trains a map of edges.

    Args:
        average: what the sum is divided by: the "valid" pixels are those along the outline, and "global" those of all
            processes; "all" is every pixel of the batch, as in the authors' code, where a long outline weighs more.
        ignore: value of the target that is left out; None is the data set's in a config, and leaves out both 255 and -1
            (click targets) elsewhere.
    """

    row = dict(target="mask")

    def __init__(self, average: Annotated[str, OneOf(AVERAGES)] = "valid", ignore: float | None = None):
        super().__init__()
        self.average, self.ignore = checked_average(average), ignore

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Computes the loss.

        Args:
            logits: float [B,K,H,W].
            target: [B,K,H,W] in 0..1, or [B,H,W] where K = 1.

        Returns:
            float [].
        """
        logits = full_precision(logits)
        label, valid = dense_target(logits, target, self.ignore)
        outline = meeting_pixels(label > 0.5, valid)
        total = F.binary_cross_entropy_with_logits(logits, label, outline.to(logits.dtype), reduction="sum")
        return mean_over(total, outline.sum(), outline.numel(), self.average)
