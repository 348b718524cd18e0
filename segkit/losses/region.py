"""Losses on the overlap of regions: Dice, Jaccard, Tversky. B batch, K classes, H W image, S samples (B or 1)."""

import torch
from torch import Tensor

from segkit.losses.base import Loss
from segkit.ops.averaging import float_vector
from segkit.ops.region_sums import RegionSums, region_sums
from segkit.registry import LOSSES

ABSENT = ("skip", "zero", "count")


class RegionLoss(Loss):
    """1 - score (or -log score) of the regions of each class, averaged over classes and samples.

    activation: "softmax", "sigmoid" (each class for itself; take it for K = 1) or "none" (probabilities come in).
    smooth: added to numerator and denominator; eps: added to the denominator alone, and the least score under the log.
    squared: sums of p^2 and g^2 in the denominator (V-Net) instead of p and g.
    per_image: a region is the class within one image; False takes the whole batch as one image.
    joint: the sums of all classes form one region.
    absent: a class without a true pixel in the sample is left out of the mean ("skip"), adds 0 but is counted ("zero"),
    or is scored as any other ("count"). classes: those that count, None for all; class_weight: K numbers that multiply
    the classes' losses; the divisor remains the number of classes.
    mask_ignored: False takes the label off ignored pixels but leaves their prediction in (mmseg's Dice).
    A sample without a valid pixel gives 0 and is not counted, but under "zero".

    segmentation_models_pytorch: absent="zero", class weights divided by their mean, and for its Dice smooth doubled.
    mmseg's DiceLoss: per_image, joint, mask_ignored=False,
    absent="count" and squared, eps=2e-3 or, in its naive form, smooth=1e-3.
    """

    row = dict(target="mask")

    def __init__(
        self,
        activation: str = "softmax",
        smooth: float = 0.0,
        eps: float = 1e-7,
        squared: bool = False,
        per_image: bool = False,
        joint: bool = False,
        absent: str = "skip",
        log: bool = False,
        classes: list[int] | None = None,
        class_weight: list[float] | None = None,
        mask_ignored: bool = True,
        ignore: int = 255,
    ):
        super().__init__()
        if absent not in ABSENT:
            raise ValueError(f"absent = {absent!r}: there are {', '.join(ABSENT)}")
        self.activation, self.squared, self.ignore, self.mask_ignored = activation, squared, ignore, mask_ignored
        self.smooth, self.eps, self.log = smooth, eps, log
        self.per_image, self.joint, self.absent = per_image, joint, absent
        chosen = None if classes is None else torch.tensor(classes)
        self.register_buffer("classes", chosen, persistent=False)
        self.register_buffer("class_weight", float_vector(class_weight), persistent=False)

    def score(self, sums: RegionSums) -> Tensor:
        """sums: [S,K] each -> [S,K], 1 for a perfect region."""
        raise NotImplementedError

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """logits: float [B,K,H,W]; target: int64 [B,H,W], or 0..1 of the logits' shape -> float []."""
        sums = region_sums(
            logits,
            target,
            activation=self.activation,
            squared=self.squared,
            ignore=self.ignore,
            mask_ignored=self.mask_ignored,
        )
        weight = self.class_weight
        if self.classes is not None:
            sums = RegionSums(*(part.index_select(1, self.classes) for part in sums))
            weight = None if weight is None else weight.index_select(0, self.classes)
        if not self.per_image:
            sums = RegionSums(*(part.sum(0, keepdim=True) for part in sums))
        if self.joint:
            sums = RegionSums(*(part.sum(1, keepdim=True) for part in sums))
            weight = None
        score = self.score(sums)
        loss = -score.clamp_min(self.eps).log() if self.log else 1 - score
        return self.reduce(loss if weight is None else loss * weight.to(loss.dtype), sums)

    def reduce(self, loss: Tensor, sums: RegionSums) -> Tensor:
        """Mean of loss [S,K] over the classes and samples that count -> float []."""
        is_valid = sums.valid > 0
        counts = is_valid if self.absent == "count" else is_valid & (sums.true > 0)
        total = torch.where(counts, loss, 0.0).sum()
        if self.absent == "zero":
            return total / loss.numel()
        return total / counts.sum().clamp_min(1)


@LOSSES.register
class Dice(RegionLoss):
    """1 - (2 sum p g + s) / (sum p + sum g + s), or with squares in the denominator.

    Milletari et al., V-Net, 3DV 2016, section 3 (squared); the linear form is the usual soft F1. Arguments: RegionLoss.
    """

    def score(self, sums: RegionSums) -> Tensor:
        """sums: [S,K] each -> Dice [S,K]."""
        return (2 * sums.overlap + self.smooth) / (sums.predicted + sums.true + self.smooth + self.eps)


@LOSSES.register
class Jaccard(RegionLoss):
    """1 - (sum p g + s) / (sum p + sum g - sum p g + s): soft intersection over union.

    Rahman and Wang, ISVC 2016, eq. 3. Arguments: RegionLoss.
    """

    def score(self, sums: RegionSums) -> Tensor:
        """sums: [S,K] each -> IoU [S,K]."""
        union = sums.predicted + sums.true - sums.overlap
        return (sums.overlap + self.smooth) / (union + self.smooth + self.eps)


@LOSSES.register
class Tversky(RegionLoss):
    """1 - (TP + s) / (TP + alpha FP + beta FN + s), TP = sum p g, FP = sum p (1 - g), FN = sum (1 - p) g.

    Salehi et al., MLMI 2017, eq. 4. alpha = beta = 0.5 is Dice, alpha = beta = 1 Jaccard. Other arguments: RegionLoss.
    mmseg: alpha=0.3, beta=0.7, smooth=1, per_image, absent="count".
    """

    def __init__(
        self,
        alpha: float = 0.3,
        beta: float = 0.7,
        activation: str = "softmax",
        smooth: float = 0.0,
        eps: float = 1e-7,
        per_image: bool = False,
        absent: str = "skip",
        log: bool = False,
        classes: list[int] | None = None,
        class_weight: list[float] | None = None,
        ignore: int = 255,
    ):
        super().__init__(
            activation=activation,
            smooth=smooth,
            eps=eps,
            per_image=per_image,
            absent=absent,
            log=log,
            classes=classes,
            class_weight=class_weight,
            ignore=ignore,
        )
        self.alpha, self.beta = alpha, beta

    def score(self, sums: RegionSums) -> Tensor:
        """sums: [S,K] each -> Tversky index [S,K]."""
        wrong = self.alpha * (sums.predicted - sums.overlap) + self.beta * (sums.true - sums.overlap)
        return (sums.overlap + self.smooth) / (sums.overlap + wrong + self.smooth + self.eps)


@LOSSES.register
class FocalTversky(Tversky):
    """(1 - Tversky index)^gamma of each class.

    Abraham and Khan, ISBI 2019, eq. 4, whose exponent 1 / gamma is `gamma` here: 0.75 is their 4/3.
    of_mean: the power is taken of the mean over classes, as segmentation_models_pytorch does.
    """

    def __init__(
        self,
        gamma: float = 0.75,
        alpha: float = 0.3,
        beta: float = 0.7,
        of_mean: bool = False,
        activation: str = "softmax",
        smooth: float = 0.0,
        eps: float = 1e-7,
        per_image: bool = False,
        absent: str = "skip",
        classes: list[int] | None = None,
        class_weight: list[float] | None = None,
        ignore: int = 255,
    ):
        super().__init__(
            alpha=alpha,
            beta=beta,
            activation=activation,
            smooth=smooth,
            eps=eps,
            per_image=per_image,
            absent=absent,
            classes=classes,
            class_weight=class_weight,
            ignore=ignore,
        )
        self.gamma, self.of_mean = gamma, of_mean

    def reduce(self, loss: Tensor, sums: RegionSums) -> Tensor:
        """Mean of loss [S,K] to the power of gamma -> float []."""
        if self.of_mean:
            return self._power(super().reduce(loss, sums))
        return super().reduce(self._power(loss), sums)

    def _power(self, loss: Tensor) -> Tensor:
        # below gamma = 1 the slope at a perfect region is infinite; from eps down it is cut off
        return torch.where(loss > self.eps, loss.clamp_min(self.eps) ** self.gamma, 0.0)
