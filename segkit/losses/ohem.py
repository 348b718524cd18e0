"""Online hard example mining: trains only the pixels that the model is least sure of.

B batch, K classes, H W image.
"""

import math
from typing import Annotated, Any

import torch
from torch import Tensor

from segkit.constraints.named import Fraction, NonNegativeInt, OneOf
from segkit.losses.base import Loss, PixelLoss
from segkit.losses.cross_entropy import CrossEntropy
from segkit.ops.averaging import full_precision, mean_over
from segkit.registry import LOSSES
from segkit.types import IGNORE

AVERAGES = ("kept", "valid", "all")


@LOSSES.register
class OHEM(Loss):
    """Mean of a pixel loss over its hard pixels (online hard example mining).

    Shrivastava et al., CVPR 2016, in the form of PSPNet-type training code. mmsegmentation: its OhemCrossEntropy is
    average="kept", its OHEMPixelSampler per_image with average="all".

    Args:
        loss: a loss of single pixels, with `pixels(logits, target)`: CrossEntropy (the default), BinaryCrossEntropy,
            Focal or SigmoidFocal. Its own `average` and class weights do not enter the divisor.
        threshold: pixels whose true class has a smaller probability are kept (a sigmoid's where K = 1), and at least
            min_kept of the batch: the bound is the larger of threshold and the probability of rank min_kept, counted
            from 0; a pixel exactly at the bound is not kept. None keeps the min_kept pixels of the largest loss.
        min_kept: least number of kept pixels.
        per_image: multiplies min_kept by B.
        average: what the sum is divided by: the number of "kept" pixels, of "valid" ones, or of "all".
        ignore: label that is left out; the loss must leave out the same.

    Raises:
        ValueError: unknown average; the loss is none of single pixels, or ignores another label.
    """

    row = dict(target="mask")
    parts = {"loss": LOSSES}

    @classmethod
    def instead_of_one_channel(cls, arguments: dict[str, Any]) -> str:
        """Returns what to use instead of the default, which is a cross entropy."""
        return "OHEM with loss=dict(type='BinaryCrossEntropy')" if arguments.get("loss") is None else ""

    def __init__(
        self,
        loss: PixelLoss | None = None,
        threshold: Fraction | None = 0.7,
        min_kept: NonNegativeInt = 100_000,
        per_image: bool = False,
        average: Annotated[str, OneOf(AVERAGES)] = "kept",
        ignore: int = IGNORE,
    ):
        super().__init__()
        if average not in AVERAGES:
            raise ValueError(f"average = {average!r}: must be one of {', '.join(AVERAGES)}")
        self.loss = CrossEntropy(ignore=ignore) if loss is None else loss
        if not hasattr(self.loss, "pixels"):
            raise ValueError(
                f"OHEM.loss = {type(self.loss).__name__}: must be a loss of single pixels, as CrossEntropy"
            )
        if self.loss.ignore is None:
            self.loss.ignore = ignore
        if self.loss.ignore != ignore:
            raise ValueError(f"OHEM.ignore = {ignore}, but its loss ignores {self.loss.ignore}: set both to the same")
        self.threshold, self.min_kept, self.per_image = threshold, min_kept, per_image
        self.average, self.ignore = average, ignore

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Computes the loss.

        Args:
            logits: float [B,K,H,W].
            target: int64 [B,H,W].

        Returns:
            float [], 0 where nothing is valid.
        """
        values, _ = self.loss.pixels(logits, target)
        keep = self.kept(logits, target)
        counted = keep if self.average == "kept" else target != self.ignore
        average = "all" if self.average == "all" else "valid"
        return mean_over((values * keep).sum(), counted.sum(), keep.numel(), average)

    def kept(self, logits: Tensor, target: Tensor) -> Tensor:
        """Returns which pixels are trained, bool [B,H,W]."""
        with torch.no_grad():
            valid = target != self.ignore
            least = self.min_kept * (logits.shape[0] if self.per_image else 1)
            if self.threshold is None:
                values, _ = self.loss.pixels(logits, target)
                return _largest(torch.where(valid, values, -math.inf), least) & valid
            p = _probability_of_truth(full_precision(logits), target.long() * valid)
            hard = torch.where(valid, p, math.inf).flatten()
            rank = min(least, hard.numel() - 1) + 1
            # fewer valid pixels than min_kept: the bound is the largest probability there is
            bound = _of_rank(hard, rank).minimum(torch.where(valid, p, -math.inf).max())
            return valid & (p < bound.clamp_min(self.threshold))


def _probability_of_truth(logits: Tensor, index: Tensor) -> Tensor:
    """Probability of the true class, float [B,H,W]; logits: float [B,K,H,W]; index: int64 [B,H,W]."""
    if logits.shape[1] == 1:
        return torch.where(index > 0, logits[:, 0], -logits[:, 0]).sigmoid()
    at_label = logits.gather(1, index.unsqueeze(1)).squeeze(1)
    return (at_label - logits.logsumexp(1)).exp()


def _of_rank(values: Tensor, rank: int) -> Tensor:
    """The value of that rank of values [n], the smallest has rank 1.

    A GPU's kthvalue has one block of threads for all of them, hence topk there.
    """
    if values.is_cuda:
        return values.topk(rank, largest=False, sorted=False).values.max()
    return values.kthvalue(rank).values


def _largest(values: Tensor, number: int) -> Tensor:
    """Bool of values' shape, True on the `number` largest."""
    flat = values.flatten()
    chosen = flat.topk(min(number, flat.numel()), sorted=False).indices
    return torch.zeros_like(flat, dtype=torch.bool).scatter_(0, chosen, True).view_as(values)
