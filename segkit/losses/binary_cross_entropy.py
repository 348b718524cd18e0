"""Cross entropy of sigmoids: binary, multi-label, or each class against the rest.

B batch, K classes, H W image.
"""

from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor

from segkit.constraints.named import Fraction, NonNegativeFloat, NonNegativeInt, OneOf
from segkit.losses.base import PixelLoss
from segkit.ops.averaging import AVERAGES, checked_average, float_vector, full_precision, mean_over
from segkit.ops.pixel_targets import dense_target, flip_true_class, is_index_target, valid_pixels
from segkit.registry import LOSSES
from segkit.types import IGNORE


@LOSSES.register
class BinaryCrossEntropy(PixelLoss):
    """Binary cross entropy of sigmoids, averaged over pixels and classes.

    -w t log s(x) - (1 - t) log(1 - s(x)), where s is the sigmoid and t the target.

    Args:
        pos_weight: the weight w of positives, K numbers or one for all classes; None is 1.
        label_smoothing: e, which turns t into (1 - e) t + e / 2; segmentation_models_pytorch's smooth_factor is e / 2.
        sum_classes: sums over the classes of a pixel instead of averaging, the form of incremental learning.
        average: "valid" divides by the elements that are not ignored, "all" by all (RITM, mmsegmentation's default),
            "global" by the valid elements of all processes.
        ignore: value of the target that is left out; None is the data set's in a config, and leaves out both 255 and -1
            (click targets) elsewhere.
        extra_pixels: added to the number of valid elements by which the sum is divided (not for average="all"); 1 in
            the code of HMSA, Tao et al. 2020, whose low-scale and auxiliary terms are this loss with sum_classes.
    """

    row = dict(target="mask")
    pos_weight: Tensor | None

    def __init__(
        self,
        pos_weight: list[NonNegativeFloat] | None = None,
        label_smoothing: Fraction = 0.0,
        sum_classes: bool = False,
        average: Annotated[str, OneOf(AVERAGES)] = "valid",
        ignore: float | None = None,
        extra_pixels: NonNegativeInt = 0,
    ):
        super().__init__()
        self.register_buffer("pos_weight", float_vector(pos_weight), persistent=False)
        self.label_smoothing = label_smoothing
        self.sum_classes = sum_classes
        self.average = checked_average(average)
        self.ignore = ignore
        self.extra_pixels = extra_pixels

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Computes the loss.

        Args:
            logits: float [B,K,H,W].
            target: [B,K,H,W] in 0..1, [B,H,W] of the same where K = 1, or int64 [B,H,W] of class indices where K > 1.

        Returns:
            float [], 0 where nothing is valid.
        """
        values, valid = self._elements(logits, target)
        size = logits.numel()
        if self.sum_classes:
            valid, size = valid.any(1), size // logits.shape[1]
        count = valid.sum() * (size // valid.numel()) + self.extra_pixels
        return mean_over(values.sum(), count, size, self.average)

    def pixels(self, logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Computes the loss of each pixel.

        Returns:
            The losses, float [B,H,W], 0 on ignored pixels, and which pixels count, float [B,H,W].
        """
        values, valid = self._elements(logits, target)
        per_pixel = values.sum(1)
        return per_pixel if self.sum_classes else per_pixel / logits.shape[1], valid.any(1).to(values.dtype)

    def _elements(self, logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Losses, float [B,K or 1,H,W], 0 where ignored, and valid, bool [B,K or 1,H,W]; 1: summed over classes."""
        logits = full_precision(logits)
        weight = None if self.pos_weight is None else self.pos_weight.to(logits.dtype)
        weight = weight if weight is None else weight.view(-1, *(1,) * (logits.dim() - 2))
        if is_index_target(logits, target) and weight is None and self.label_smoothing == 0:
            signed = flip_true_class(logits, target, self.ignore)
            valid = signed.valid.unsqueeze(1)
            return F.softplus(signed.logits).sum(1, keepdim=True) * valid, valid
        if is_index_target(logits, target):
            target = _one_against_rest(logits, target, self.ignore)
        label, valid = dense_target(logits, target, self.ignore)
        if self.label_smoothing > 0:
            label = label * (1 - self.label_smoothing) + self.label_smoothing / 2
        values = F.binary_cross_entropy_with_logits(logits, label, pos_weight=weight, reduction="none")
        return torch.where(valid, values, 0.0), valid


def _one_against_rest(logits: Tensor, target: Tensor, ignore: float | None) -> Tensor:
    """One-hot labels [B,K,H,W] of a target int64 [B,H,W], with `ignore` in all channels of ignored pixels."""
    valid = valid_pixels(target, ignore).unsqueeze(1)
    index = target.long().unsqueeze(1) * valid
    onehot = torch.zeros_like(logits).scatter_(1, index, 1.0)
    return torch.where(valid, onehot, float(IGNORE if ignore is None else ignore))
