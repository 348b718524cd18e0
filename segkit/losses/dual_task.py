"""Losses on the gradients of probability maps.

B batch, K classes, H W image.
"""

from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor

from segkit.constraints.named import NonNegativeFloat, NonNegativeInt, OneOf, PositiveFloat
from segkit.losses.base import Loss
from segkit.ops.averaging import AVERAGES, checked_average, full_precision, mean_over
from segkit.ops.edges import slope, sobel, triangle_smooth
from segkit.ops.pixel_targets import dense_target
from segkit.registry import LOSSES
from segkit.types import IGNORE


@LOSSES.register
class DualTask(Loss):
    """Dual task loss: L1 distance between the slopes of predicted and true class maps.

    The mean of two means: over the elements where the predicted slope exceeds `least`, and over those where the true
    one does. Takikawa et al., Gated-SCNN, ICCV 2019, https://arxiv.org/abs/1907.05740, eq. 6 and 7. The prediction is
    softmax(x / temperature). The paper adds Gumbel noise to the logits; here the noise-free limit is taken. This is the
    paper's loss; that of its authors' code is ProbabilityDualTask. Ignored pixels are left out, and so is everything
    whose smoothing reaches one.

    Args:
        temperature: of the softmax.
        radius: of the triangle filter, in pixels, that smooths the maps before their slope is taken.
        least: slope above which an element counts.
        ignore: label that is left out.
    """

    row = dict(target="mask")
    one_channel = "BinaryCrossEntropy"

    def __init__(
        self,
        temperature: PositiveFloat = 0.5,
        radius: NonNegativeInt = 4,
        least: NonNegativeFloat = 1e-8,
        ignore: int = IGNORE,
    ):
        super().__init__()
        self.temperature, self.radius, self.least, self.ignore = temperature, radius, least, ignore

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Computes the loss.

        Args:
            logits: float [B,K,H,W].
            target: int64 [B,H,W].

        Returns:
            float [], 0 where nothing is valid.
        """
        self.need_channels(logits)
        p = (full_precision(logits) / self.temperature).softmax(1)
        valid = (target != self.ignore).unsqueeze(1)
        index = target.long().unsqueeze(1) * valid
        label = torch.zeros_like(p).scatter_(1, index, 1.0)
        reach = self.radius + 1
        clear = -F.max_pool2d(-valid.to(p.dtype), 2 * reach + 1, 1, reach)
        predicted = slope(triangle_smooth(p, self.radius))
        true = slope(triangle_smooth(label, self.radius))
        difference = (predicted - true).abs()
        halves = [(slopes.detach() > self.least) * clear for slopes in (predicted, true)]
        means = [(difference * half).sum() / half.sum().clamp_min(1) for half in halves]
        return (means[0] + means[1]) / 2


@LOSSES.register
class ProbabilityDualTask(Loss):
    """Dual task loss of Gated-SCNN's published code: L1 distance of predicted and true class maps.

    In that code smoothing and differences are switched off, so that the slope of a map p is sqrt(2 p^2 + 1e-6), divided
    by its maximum over the batch. Mean over all elements. An ignored pixel counts as one of class 0 whose logits are 0,
    as published; a batch without a valid pixel gives 0. Takikawa et al., Gated-SCNN, ICCV 2019,
    https://arxiv.org/abs/1907.05740; DualTask is the loss of the paper.

    Args:
        noise: adds Gumbel noise to the logits, as published; without it the loss is the same at every call.
        temperature: of the softmax.
        ignore: label of pixels without a class.
    """

    row = dict(target="mask")
    one_channel = "BinaryCrossEntropy"

    def __init__(self, noise: bool = False, temperature: PositiveFloat = 0.5, ignore: int = IGNORE):
        super().__init__()
        self.noise, self.temperature, self.ignore = noise, temperature, ignore

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Computes the loss.

        Args:
            logits: float [B,K,H,W].
            target: int64 [B,H,W].

        Returns:
            float [], 0 where nothing is valid.
        """
        self.need_channels(logits)
        logits = full_precision(logits)
        return self.with_noise(logits, target, gumbel_like(logits) if self.noise else torch.zeros_like(logits))

    def with_noise(self, logits: Tensor, target: Tensor, noise: Tensor) -> Tensor:
        """Computes the loss for given noise.

        Args:
            logits: float [B,K,H,W].
            target: int64 [B,H,W].
            noise: float [B,K,H,W], added to the logits.

        Returns:
            float [], 0 where nothing is valid.
        """
        valid = (target != self.ignore).unsqueeze(1)
        p = ((torch.where(valid, logits, 0.0) + noise) / self.temperature).softmax(1)
        label = torch.zeros_like(p).scatter_(1, target.long().unsqueeze(1) * valid, 1.0)
        predicted, true = ((2 * maps.square() + 1e-6).sqrt() for maps in (p, label))
        return (predicted / predicted.amax() - true / true.amax()).abs().mean() * valid.any()


def gumbel_like(x: Tensor, eps: float = 1e-10) -> Tensor:
    """Draws standard Gumbel noise of the shape and dtype of a tensor from torch's generator, as dropout does."""
    return -(eps - (torch.rand_like(x) + eps).log()).log()


@LOSSES.register
class SobelL1(Loss):
    """L1 distance between the Sobel gradients of the predicted mask and of the label.

    Both, sigmoid(x) and the label, are first averaged over 3 x 3 pixels; outside the image both are 0. Cheng et al.,
    CascadePSP, CVPR 2020, section 3.1, https://arxiv.org/abs/2005.02551, where its weight is 5, in the form of the
    published code: as in `segkit.ops.edges.sobel`. Ignored pixels and those next to them are left out.

    Args:
        average: what the sum is divided by: "valid" elements, "all", or the valid ones of all processes ("global").
        ignore: value of the target that is left out.
    """

    row = dict(target="mask")

    def __init__(self, average: Annotated[str, OneOf(AVERAGES)] = "valid", ignore: float = IGNORE):
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
        smooth = [mean_of_neighbors(maps) for maps in (logits.sigmoid(), label)]
        clear = -F.max_pool2d(-valid.to(logits.dtype), 5, 1, 2)
        values = (sobel(smooth[0]) - sobel(smooth[1])).abs() * clear
        return mean_over(values.sum(), clear.sum(), values.numel(), self.average)


def mean_of_neighbors(maps: Tensor) -> Tensor:
    """Returns the 3 x 3 mean of maps [B,K,H,W], with zeros outside that are counted."""
    return F.avg_pool2d(maps, 3, 1, 1)
