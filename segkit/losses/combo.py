"""Combo loss: a weighted sum of cross entropy and Dice.

Taghanaki et al., 2018, https://arxiv.org/abs/1805.02798. B batch, K classes, H W image.
"""

import torch.nn.functional as F
from torch import Tensor

from segkit.constraints.named import NonNegativeFloat
from segkit.losses.base import Loss
from segkit.ops.averaging import full_precision
from segkit.ops.pixel_targets import dense_target, flip_true_class, is_index_target
from segkit.ops.region_sums import region_sums
from segkit.registry import LOSSES


@LOSSES.register
class Combo(Loss):
    """Combo loss: alpha CE + (1 - alpha) (1 - Dice) of sigmoids, each class against the rest.

    Eq. 3 of the paper plus the constant 1 - alpha, so that a perfect prediction gives 0. CE is the mean over classes
    and valid pixels of -beta t log p - (1 - beta) (1 - t) log(1 - p). Dice is (2 sum p t + smooth) / (sum p + sum t +
    smooth) of each class over the batch, averaged over classes.

    Args:
        alpha: weight of the cross entropy in 0..1.
        beta: weight of positives in 0..1; above 0.5 missed pixels are punished more than false ones.
        smooth: added to numerator and denominator of Dice.
        ignore: value of the target that is left out; None is the data set's in a config, and leaves out both 255 and -1
            (click targets) elsewhere.
    """

    row = dict(target="mask")

    def __init__(
        self,
        alpha: NonNegativeFloat = 0.5,
        beta: NonNegativeFloat = 0.5,
        smooth: NonNegativeFloat = 1.0,
        ignore: float | None = None,
    ):
        super().__init__()
        self.alpha, self.beta, self.smooth, self.ignore = alpha, beta, smooth, ignore

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Computes the loss.

        Args:
            logits: float [B,K,H,W].
            target: int64 [B,H,W] of class indices, or the logits' shape in 0..1.

        Returns:
            float [], 0 where nothing is valid.
        """
        logits = full_precision(logits)
        sums = region_sums(logits, target, activation="sigmoid", ignore=self.ignore)
        overlap, predicted, true, valid = (values.sum(0) for values in sums)
        dice = (2 * overlap + self.smooth) / (predicted + true + self.smooth).clamp_min(1e-12)
        dice_loss = ((1 - dice) * (valid > 0)).mean()
        cross_entropy = self._weighted_sum(logits, target) / valid.sum().clamp_min(1)
        return self.alpha * cross_entropy + (1 - self.alpha) * dice_loss

    def _weighted_sum(self, logits: Tensor, target: Tensor) -> Tensor:
        if is_index_target(logits, target):
            flipped, index, valid = flip_true_class(logits, target, self.ignore)
            values = F.softplus(flipped)
            # all elements at 1 - beta, and the true class's at beta
            at_label = values.gather(1, index).squeeze(1)
            per_pixel = (1 - self.beta) * values.sum(1) + (2 * self.beta - 1) * at_label
            return (per_pixel * valid).sum()
        label, valid = dense_target(logits, target, self.ignore)
        values = self.beta * label * F.softplus(-logits) + (1 - self.beta) * (1 - label) * F.softplus(logits)
        return (values * valid).sum()
