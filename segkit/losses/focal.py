"""Focal loss in three forms: on a softmax, on each class against the rest, and on one channel or soft labels.

Lin et al., ICCV 2017, https://arxiv.org/abs/1708.02002. `alpha` of the paper can be computed by
segkit.ops.class_balance.balanced_alpha and effective_number. B batch, K classes, H W image.
"""

from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor

from segkit.constraints.named import NonNegativeFloat, OneOf
from segkit.losses.base import Loss, PixelLoss
from segkit.ops.averaging import AVERAGES, checked_average, float_vector, full_precision, mean_over
from segkit.ops.log_sigmoid import balance, focal_of_negatives, focal_parts
from segkit.ops.pixel_targets import dense_target, flip_true_class, is_index_target, mean_of_pixels, mean_of_samples
from segkit.registry import LOSSES
from segkit.types import IGNORE

# the power's slope at 0 is infinite for gamma < 1; below this the modulating factor is constant
LEAST_ERROR = 1e-12


def _alpha(alpha: float | list[float] | None) -> Tensor | None:
    """Returns alpha as float32 [K], [1] for one number, or None."""
    return float_vector([alpha] if isinstance(alpha, (int, float)) else alpha)


@LOSSES.register
class Focal(PixelLoss):
    """Focal loss on a softmax: cross entropy in which well classified pixels count less.

    -alpha_y (1 - p_y)^gamma log p_y with p = softmax(x) and the true class y: eq. 5 of the paper for more than two
    classes.

    Args:
        gamma: how much well classified pixels are down-weighted; 0 without alpha is cross entropy.
        alpha: K numbers, or one for all classes; None is 1. In a config also the name of a law, computed from the
            training masks.
        average: "valid" divides by the number of pixels that are not ignored (alpha does not enter it), "all" by all
            pixels, "global" is "valid" over all processes.
        ignore: label that is left out.
    """

    row = dict(target="mask")
    one_channel = "BinaryFocal or SigmoidFocal"
    alpha: Tensor | None
    ignore: int

    def __init__(
        self,
        gamma: NonNegativeFloat = 2.0,
        alpha: NonNegativeFloat | list[NonNegativeFloat] | None = None,
        average: Annotated[str, OneOf(AVERAGES)] = "valid",
        ignore: int = IGNORE,
    ):
        super().__init__()
        self.register_buffer("alpha", _alpha(alpha), persistent=False)
        self.gamma, self.ignore = gamma, ignore
        self.average = checked_average(average)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Computes the loss.

        Args:
            logits: float [B,K,H,W].
            target: int64 [B,H,W].

        Returns:
            float [], 0 where nothing is valid.
        """
        values, valid = self.pixels(logits, target)
        return mean_over(values.sum(), valid.sum(), valid.numel(), self.average)

    def pixels(self, logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Computes the loss of each pixel.

        Returns:
            The losses, float [B,H,W], 0 on ignored pixels, and which pixels count, float [B,H,W].
        """
        self.need_channels(logits)
        target = target.long()
        values = F.cross_entropy(full_precision(logits), target, ignore_index=self.ignore, reduction="none")
        valid = target != self.ignore
        if self.alpha is not None:
            alpha = self.alpha.to(values.dtype).expand(logits.shape[1])[target * valid]
            weighted = values * alpha
        else:
            weighted = values
        if self.gamma != 0:
            weighted = weighted * (-torch.expm1(-values)).clamp_min(LEAST_ERROR) ** self.gamma
        return weighted, valid.to(values.dtype)


@LOSSES.register
class SigmoidFocal(PixelLoss):
    """Focal loss on sigmoids, each class against the rest.

    -alpha_t (1 - p_t)^gamma log p_t, where p_t is the sigmoid's probability of what is true. mmsegmentation's FocalLoss
    on one-hot targets: alpha=0.5; on class indices average="all".

    Args:
        gamma: how much well classified elements are down-weighted.
        alpha: one number or K of them: alpha_t is alpha for a true class and 1 - alpha for the others; None is 1. In a
            config also the name of a law, computed from the training masks.
        class_weight: K numbers that multiply the classes' losses.
        reduced_threshold: r, with which the factor is ((1 - p_t) / r)^gamma, and 1 where p_t < r.
        normalized: each class's sum is divided by the sum of its factors (with their gradient) instead of its number of
            pixels, then the classes are averaged; segmentation_models_pytorch divides by the number of pixels once
            more.
        average: mean over the classes and pixels that are not ignored ("valid"), over all ("all"), or over the valid
            ones of all processes ("global").
        ignore: value of the target that is left out; None is the data set's in a config, and leaves out both 255 and -1
            (click targets) elsewhere.
    """

    row = dict(target="mask")
    alpha: Tensor | None
    class_weight: Tensor | None

    def __init__(
        self,
        gamma: NonNegativeFloat = 2.0,
        alpha: NonNegativeFloat | list[NonNegativeFloat] | None = None,
        class_weight: list[NonNegativeFloat] | None = None,
        reduced_threshold: NonNegativeFloat | None = None,
        normalized: bool = False,
        average: Annotated[str, OneOf(AVERAGES)] = "valid",
        ignore: float | None = None,
    ):
        super().__init__()
        self.register_buffer("alpha", _alpha(alpha), persistent=False)
        self.register_buffer("class_weight", float_vector(class_weight), persistent=False)
        self.gamma, self.reduced_threshold, self.normalized = gamma, reduced_threshold, normalized
        self.average, self.ignore = checked_average(average), ignore

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Computes the loss.

        Args:
            logits: float [B,K,H,W].
            target: int64 [B,H,W] of class indices, or the logits' shape with 0 and 1.

        Returns:
            float [], 0 where nothing is valid.
        """
        values, factor, valid = self._elements(logits, target)
        if self.normalized and factor is not None:
            total = (factor * valid).transpose(0, 1).flatten(1).sum(1)
            return (values.transpose(0, 1).flatten(1).sum(1) / torch.where(total > 0, total, 1.0)).mean()
        size = logits.numel()
        return mean_over(values.sum(), valid.sum() * (size // valid.numel()), size, self.average)

    def pixels(self, logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Computes the loss of each pixel, the mean over its classes.

        Returns:
            The losses, float [B,H,W], 0 on ignored pixels, and which pixels count, float [B,H,W].
        """
        values, _, valid = self._elements(logits, target)
        return values.sum(1) / logits.shape[1], valid.any(1).to(values.dtype)

    def _elements(self, logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor | None, Tensor]:
        """Weighted loss [B,K,H,W], 0 where ignored; factor [B,K,H,W] or None; valid, bool [B,K or 1,H,W]."""
        logits = full_precision(logits)
        spread = (-1,) + (1,) * (logits.dim() - 2)
        if is_index_target(logits, target):
            flipped, index, valid = flip_true_class(logits, target, self.ignore)
            valid = valid.unsqueeze(1)
        else:
            label, valid = dense_target(logits, target, self.ignore)
            flipped = torch.where(label > 0.5, -logits, logits)
        values, factor = self._values(flipped)
        if self.alpha is not None:
            alpha = self.alpha.to(logits.dtype).view(spread)
            if is_index_target(logits, target):
                alpha = alpha.expand(logits.shape[1:]).unsqueeze(0).expand_as(logits)
                values = values * (1 - alpha).scatter(1, index, alpha.gather(1, index))
            else:
                values = values * torch.where(label > 0.5, alpha, 1 - alpha)
        if self.class_weight is not None:
            values = values * self.class_weight.to(logits.dtype).view(spread)
        return values * valid, factor, valid

    def _values(self, flipped: Tensor) -> tuple[Tensor, Tensor | None]:
        """Unweighted loss of logits of negative examples, and its factor where a form needs it."""
        if self.reduced_threshold is None and not self.normalized:
            return focal_of_negatives(flipped, self.gamma), None
        cross_entropy = -F.logsigmoid(-flipped)
        # log(1 - p_t) = logsigmoid(z) = z - softplus(z): no probability is subtracted from 1, no power of 0 taken
        factor = torch.exp(self.gamma * (flipped - cross_entropy))
        if self.reduced_threshold is not None:
            scaled = factor / self.reduced_threshold**self.gamma
            factor = torch.where(torch.exp(-cross_entropy) < self.reduced_threshold, 1.0, scaled)
        return cross_entropy * factor, factor


@LOSSES.register
class BinaryFocal(Loss):
    """Focal loss on a sigmoid for click targets: one channel, soft labels as well.

    -alpha_t (1 - p_t)^gamma log p_t with p_t = 1 - |t - s(x)|, where s is the sigmoid and t the target. The published
    code clamps inside the logarithm at 1e-9, which makes the gradient jump twentyfold near logit -20; here it does not.

    Args:
        gamma: how much well classified pixels are down-weighted.
        alpha: alpha_t is alpha where t > 0.5 and 1 - alpha elsewhere; None is 1.
        per_sample: mean over each sample's valid pixels, then over samples and channels (RITM; a sample without valid
            pixels adds 0 and is counted). False averages as `average` says.
        average: what the sum is divided by without per_sample: "valid" pixels, "all" pixels, or the valid ones of all
            processes ("global").
        ignore: value of the target that is left out; None is the data set's in a config, and leaves out both 255 and -1
            (click targets) elsewhere.
    """

    row = dict(target="mask")

    def __init__(
        self,
        gamma: NonNegativeFloat = 2.0,
        alpha: NonNegativeFloat | None = 0.5,
        per_sample: bool = True,
        average: Annotated[str, OneOf(AVERAGES)] = "valid",
        ignore: float | None = None,
    ):
        super().__init__()
        self.gamma, self.alpha, self.per_sample = gamma, alpha, per_sample
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
        factor, minus_log = focal_parts(logits, label, self.gamma)
        values = factor * minus_log * valid
        if self.alpha is not None:
            values = values * balance(label, self.alpha)
        return mean_of_samples(values, valid) if self.per_sample else mean_of_pixels(values, valid, self.average)
