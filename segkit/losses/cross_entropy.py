"""Cross entropy of a softmax.

B batch, K classes, H W image.
"""

from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor

from segkit.constraints.named import Fraction, NonNegativeFloat, OneOf
from segkit.losses.base import PixelLoss
from segkit.ops.averaging import AVERAGES, checked_average, float_vector, full_precision, mean_over
from segkit.registry import LOSSES
from segkit.types import IGNORE


@LOSSES.register
class CrossEntropy(PixelLoss):
    """Softmax cross entropy, averaged over pixels.

    -w_y log softmax(x)_y of the true class y.

    Args:
        class_weight: the weights w, K numbers; None is 1. In a config also the name of a law, computed from the
            training masks.
        label_smoothing: e, with which the target is (1 - e) onehot(y) + e / K (Szegedy et al., CVPR 2016, section 7).
        average: "valid" divides by the sum of w_y over the pixels that are not ignored, as torch does; "all" divides by
            the number of all pixels, including ignored ones and regardless of weights; "global" is "valid" over all
            processes. mmsegmentation's default (`avg_non_ignore=False`) is "all" without class weights and "valid" with
            them.
        ignore: label that is left out.
    """

    row = dict(target="mask")
    one_channel = "BinaryCrossEntropy"
    class_weight: Tensor | None
    ignore: int

    def __init__(
        self,
        class_weight: list[NonNegativeFloat] | None = None,
        label_smoothing: Fraction = 0.0,
        average: Annotated[str, OneOf(AVERAGES)] = "valid",
        ignore: int = IGNORE,
    ):
        super().__init__()
        self.register_buffer("class_weight", float_vector(class_weight), persistent=False)
        self.label_smoothing = label_smoothing
        self.average = checked_average(average)
        self.ignore = ignore

    def forward(self, logits: Tensor, target: Tensor, pixel_weight: Tensor | None = None) -> Tensor:
        """Computes the loss.

        Args:
            logits: float [B,K,H,W].
            target: int64 [B,H,W], or probabilities float [B,K,H,W] (a pixel whose probabilities sum to 0 is ignored).
            pixel_weight: float [B,H,W] or None; multiplies the loss of each pixel and leaves the divisor alone.

        Returns:
            float [], 0 where nothing is valid.
        """
        self.need_channels(logits)
        logits = full_precision(logits)
        if pixel_weight is None:
            total = self._cross_entropy(logits, target, reduction="sum")
        else:
            total = (self._cross_entropy(logits, target, reduction="none") * pixel_weight).sum()
        weight = self._pixel_weight(target, logits.dtype)
        return mean_over(total, weight.sum(), weight.numel(), self.average)

    def pixels(self, logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Computes the loss of each pixel.

        Returns:
            The losses, float [B,H,W], 0 on ignored pixels, and the weight of each pixel in the mean, float [B,H,W].
        """
        self.need_channels(logits)
        logits = full_precision(logits)
        return self._cross_entropy(logits, target, reduction="none"), self._pixel_weight(target, logits.dtype)

    def _cross_entropy(self, logits: Tensor, target: Tensor, reduction: str) -> Tensor:
        is_soft = target.is_floating_point()
        return F.cross_entropy(
            logits,
            target.to(logits.dtype) if is_soft else target.long(),
            None if self.class_weight is None else self.class_weight.to(logits.dtype),
            ignore_index=-100 if is_soft else self.ignore,  # torch refuses an ignored index beside probabilities
            reduction=reduction,
            label_smoothing=self.label_smoothing,
        )

    def _pixel_weight(self, target: Tensor, dtype: torch.dtype) -> Tensor:
        if target.is_floating_point():
            if self.class_weight is None:
                return (target.detach().sum(1) > 0).to(dtype)
            weight = self.class_weight.to(dtype).view(-1, *(1,) * (target.dim() - 2))
            return (target.detach().to(dtype) * weight).sum(1)
        valid = target != self.ignore
        if self.class_weight is None:
            return valid.to(dtype)
        return self.class_weight.to(dtype)[target.long() * valid] * valid
