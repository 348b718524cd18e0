"""Losses on the overlap of regions: Dice, Jaccard, Tversky.

B batch, K classes, H W image, S samples (B or 1).
"""

from dataclasses import KW_ONLY, dataclass, field
from typing import Annotated, Any

import torch
from torch import Tensor

from segkit.constraints.named import NonNegativeFloat, NonNegativeInt, OneOf, PositiveFloat
from segkit.losses.base import Loss
from segkit.ops.averaging import float_vector
from segkit.ops.region_sums import ACTIVATIONS, RegionSums, region_sums
from segkit.registry import LOSSES

ABSENT = ("skip", "zero", "count")


@dataclass(eq=False, repr=False)
class RegionLoss(Loss):
    """Base of losses that score the overlap of predicted and true regions.

    1 - score (or -log score) of the region of each class, averaged over classes and samples. A dataclass, so that each
    loss adds its own arguments to those that all share. A sample without a valid pixel gives 0 and is not counted,
    except with absent="zero".

    segmentation_models_pytorch: absent="zero", class weights divided by their mean, and for its Dice smooth doubled.
    mmsegmentation's DiceLoss: per_image, joint, mask_ignored=False, absent="count" and squared, eps=2e-3 or, in its
    naive form, smooth=1e-3.

    Args:
        activation: "softmax", "sigmoid" (each class on its own; required for K = 1) or "none" where the inputs are
            probabilities.
        smooth: added to numerator and denominator.
        eps: added to the denominator alone; also the least score under the logarithm.
        squared: sums p^2 and g^2 in the denominator (V-Net) instead of p and g.
        per_image: scores each image on its own; False takes the whole batch as one image.
        joint: the sums of all classes form one region.
        absent: what a class without a true pixel in the sample does: "skip" leaves it out of the mean, "zero" adds 0
            and counts it, "count" scores it as any other.
        log: -log score instead of 1 - score.
        classes: indices of the classes that count; None is all.
        class_weight: K numbers that multiply the classes' losses; the divisor remains the number of classes.
        mask_ignored: False removes the label of ignored pixels but keeps their prediction (mmsegmentation's Dice).
        ignore: value of the target that is left out; None is the data set's in a config, and leaves out both 255 and -1
            (click targets) elsewhere.

    Raises:
        ValueError: unknown `absent`.
    """

    row = dict(target="mask")

    activation: Annotated[str, OneOf(ACTIVATIONS)] = "softmax"
    _: KW_ONLY
    smooth: NonNegativeFloat = 0.0
    eps: NonNegativeFloat = 1e-7
    squared: bool = False
    per_image: bool = False
    joint: bool = False
    absent: Annotated[str, OneOf(ABSENT)] = "skip"
    log: bool = False
    classes: list[NonNegativeInt] | None = None
    class_weight: list[NonNegativeFloat] | None = None
    mask_ignored: bool = True
    ignore: float | None = None
    class_index: Tensor | None = field(init=False)
    weight: Tensor | None = field(init=False)

    def __post_init__(self) -> None:
        super().__init__()
        if self.absent not in ABSENT:
            raise ValueError(f"absent = {self.absent!r}: must be one of {', '.join(ABSENT)}")
        chosen = None if self.classes is None else torch.tensor(self.classes)
        self.register_buffer("class_index", chosen, persistent=False)
        self.register_buffer("weight", float_vector(self.class_weight), persistent=False)

    @classmethod
    def instead_of_one_channel(cls, arguments: dict[str, Any]) -> str:
        """Returns the other activation where the config has a softmax."""
        name = arguments.get("activation", cls.activation)
        return f"{cls.__name__} with activation='sigmoid'" if name == "softmax" else ""

    def score(self, sums: RegionSums) -> Tensor:
        """Returns the score of each region, [S,K], 1 for a perfect one; the sums are [S,K] each."""
        raise NotImplementedError

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Computes the loss.

        Args:
            logits: float [B,K,H,W].
            target: int64 [B,H,W], or 0..1 of the logits' shape.

        Returns:
            float [].
        """
        sums = region_sums(
            logits,
            target,
            activation=self.activation,
            squared=self.squared,
            ignore=self.ignore,
            mask_ignored=self.mask_ignored,
        )
        weight = self.weight
        if self.class_index is not None:
            sums = RegionSums(*(values.index_select(1, self.class_index) for values in sums))
            weight = None if weight is None else weight.index_select(0, self.class_index)
        if not self.per_image:
            sums = RegionSums(*(values.sum(0, keepdim=True) for values in sums))
        if self.joint:
            sums = RegionSums(*(values.sum(1, keepdim=True) for values in sums))
            weight = None
        score = self.score(sums)
        loss = -score.clamp_min(self.eps).log() if self.log else 1 - score
        return self.reduce(loss if weight is None else loss * weight.to(loss.dtype), sums)

    def reduce(self, loss: Tensor, sums: RegionSums) -> Tensor:
        """Returns the mean of loss [S,K] over the classes and samples that count, float []."""
        is_valid = sums.valid > 0
        counts = is_valid if self.absent == "count" else is_valid & (sums.true > 0)
        total = torch.where(counts, loss, 0.0).sum()
        if self.absent == "zero":
            return total / loss.numel()
        return total / counts.sum().clamp_min(1)


@LOSSES.register
@dataclass(eq=False, repr=False)
class Dice(RegionLoss):
    """Dice loss: 1 - soft F1 score of each class.

    1 - (2 sum p g + s) / (sum p + sum g + s), or with squares in the denominator. Milletari et al., V-Net, 3DV 2016,
    section 3 (squared); the linear form is the usual soft F1. Arguments: RegionLoss.
    """

    def score(self, sums: RegionSums) -> Tensor:
        """Returns the Dice score, [S,K]; the sums are [S,K] each."""
        return (2 * sums.overlap + self.smooth) / (sums.predicted + sums.true + self.smooth + self.eps)


@LOSSES.register
@dataclass(eq=False, repr=False)
class Jaccard(RegionLoss):
    """Jaccard loss: 1 - soft intersection over union of each class.

    1 - (sum p g + s) / (sum p + sum g - sum p g + s). Rahman and Wang, ISVC 2016, eq. 3. Arguments: RegionLoss.
    """

    def score(self, sums: RegionSums) -> Tensor:
        """Returns the IoU, [S,K]; the sums are [S,K] each."""
        union = sums.predicted + sums.true - sums.overlap
        return (sums.overlap + self.smooth) / (union + self.smooth + self.eps)


@LOSSES.register
@dataclass(eq=False, repr=False)
class Tversky(RegionLoss):
    """Tversky loss: Dice with weights for false positives and false negatives.

    1 - (TP + s) / (TP + alpha FP + beta FN + s) with TP = sum p g, FP = sum p (1 - g) and FN = sum (1 - p) g. Salehi et
    al., MLMI 2017, eq. 4. alpha = beta = 0.5 is Dice, alpha = beta = 1 is Jaccard. mmsegmentation: alpha=0.3, beta=0.7,
    smooth=1, per_image, absent="count". Other arguments: RegionLoss.

    Args:
        alpha: weight of false positives.
        beta: weight of false negatives.
    """

    alpha: NonNegativeFloat = 0.3
    beta: NonNegativeFloat = 0.7
    activation: Annotated[str, OneOf(ACTIVATIONS)] = field(default="softmax", kw_only=True)

    def score(self, sums: RegionSums) -> Tensor:
        """Returns the Tversky index, [S,K]; the sums are [S,K] each."""
        wrong = self.alpha * (sums.predicted - sums.overlap) + self.beta * (sums.true - sums.overlap)
        return (sums.overlap + self.smooth) / (sums.overlap + wrong + self.smooth + self.eps)


@LOSSES.register
@dataclass(eq=False, repr=False, kw_only=True)
class FocalTversky(Tversky):
    """Focal Tversky loss: (1 - Tversky index)^gamma of each class.

    Abraham and Khan, ISBI 2019, eq. 4, whose exponent 1 / gamma is `gamma` here: 0.75 is their 4/3. Other arguments:
    RegionLoss.

    Args:
        gamma: the exponent.
        alpha: weight of false positives.
        beta: weight of false negatives.
        of_mean: takes the power of the mean over classes, as segmentation_models_pytorch does.
    """

    alpha: NonNegativeFloat = 0.3
    beta: NonNegativeFloat = 0.7
    gamma: PositiveFloat = 0.75
    of_mean: bool = False

    def reduce(self, loss: Tensor, sums: RegionSums) -> Tensor:
        """Returns the mean of loss [S,K] to the power of gamma, float []."""
        if self.of_mean:
            return self._power(super().reduce(loss, sums))
        return super().reduce(self._power(loss), sums)

    def _power(self, loss: Tensor) -> Tensor:
        # below gamma = 1 the slope at a perfect region is infinite; from eps down it is cut off
        return torch.where(loss > self.eps, loss.clamp_min(self.eps) ** self.gamma, 0.0)
