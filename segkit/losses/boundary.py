"""Losses on edges, and on the classes near them.

B batch, K classes, H W image.
"""

from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor

from segkit.constraints.named import Fraction, NonNegativeFloat, NonNegativeInt, OneOf, PositiveInt
from segkit.losses.base import Loss, PixelLoss
from segkit.losses.ohem import AVERAGES as OHEM_AVERAGES
from segkit.losses.ohem import OHEM
from segkit.ops.averaging import AVERAGES, checked_average, full_precision, mean_over
from segkit.ops.edges import label_edges, label_edges_in_disc, label_outlines
from segkit.ops.pixel_targets import dense_target
from segkit.ops.region_sums import count_by_class
from segkit.registry import LOSSES
from segkit.types import IGNORE


@LOSSES.register
class BoundaryBCE(Loss):
    """Class-balanced binary cross entropy of edge maps: edge pixels and other pixels have equal weight in sum.

    An edge pixel is weighted by the share of the other pixels, and the other way round. Xie and Tu, HED, ICCV 2015,
    eq. 2; Gated-SCNN, PIDNet. Gated-SCNN's form is of_labels=2, in_disc=True, sigmoid_twice=True, average="all";
    ignored pixels, which its authors train too, are left out. PIDNet's is width=4, train_ignored=True, average="all".

    Args:
        of_labels: None reads an edge map as target; a number r reads a label map, whose edges are the pixels with
            another class within r pixels.
        in_disc: measures r from center to center instead of along rows and columns, and takes the image's border and
            ignored pixels for another class (`segkit.ops.edges.label_edges_in_disc`).
        sigmoid_twice: takes the sigmoid of the logits for logits, as Gated-SCNN's published code does; the probability
            that is trained then lies in 0.5..0.73.
        per_image: computes the shares for each image instead of the batch.
        average: what the sum of weighted values is divided by: "valid" pixels, "all" pixels (mmsegmentation's
            BoundaryLoss), or the valid ones of all processes ("global").
        ignore: value of the target that is left out.
        width: reads a label map, whose edges are lines of so many pixels (`segkit.ops.edges.label_outlines`).
        train_ignored: with width, trains ignored pixels as the target has them: without an edge, or with that of a line
            near by.

    Raises:
        ValueError: both of_labels and width are given.
    """

    def __init__(
        self,
        of_labels: NonNegativeInt | None = None,
        per_image: bool = False,
        average: Annotated[str, OneOf(AVERAGES)] = "valid",
        ignore: int = IGNORE,
        *,
        in_disc: bool = False,
        sigmoid_twice: bool = False,
        width: PositiveInt | None = None,
        train_ignored: bool = False,
    ):
        super().__init__()
        if width is not None and of_labels is not None:
            raise ValueError(f"width = {width} and of_labels = {of_labels}: two ways to draw edges; give one of them")
        self.in_disc, self.sigmoid_twice = in_disc, sigmoid_twice
        self.width, self.train_ignored = width, train_ignored
        self.of_labels, self.per_image, self.ignore = of_labels, per_image, ignore
        self.average = checked_average(average)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Computes the loss.

        Args:
            logits: float [B,1,H,W].
            target: [B,H,W] or [B,1,H,W], edges as 0 and 1, or labels.

        Returns:
            float [].
        """
        logits = full_precision(logits)
        if self.sigmoid_twice:
            logits = logits.sigmoid()
        labels = target.view(logits.shape[0], *logits.shape[2:])
        if self.of_labels is not None:
            target = self._edges(labels, self.of_labels)
        elif self.width is not None:
            target = label_outlines(labels, self.width, self.ignore)
            if not self.train_ignored:
                target = torch.where(labels == self.ignore, self.ignore, target)
        edge, valid = dense_target(logits, target, self.ignore)
        over = (1, 2, 3) if self.per_image else (0, 1, 2, 3)
        number = valid.sum(over, keepdim=True).clamp_min(1)
        share = edge.sum(over, keepdim=True) / number
        weight = torch.where(edge > 0.5, 1 - share, share) * valid
        total = F.binary_cross_entropy_with_logits(logits, edge, weight, reduction="sum")
        return mean_over(total, valid.sum(), valid.numel(), self.average)

    def _edges(self, labels: Tensor, radius: int) -> Tensor:
        if not self.in_disc:
            return label_edges(labels, radius, self.ignore)
        edges = label_edges_in_disc(labels, radius, self.ignore)
        return torch.where(labels == self.ignore, self.ignore, edges)


class _ImageWeighted(Loss):
    """Cross entropy with the class weights 1 + upper_bound (1 - share of the class in the image) of each image."""

    row = dict(target="mask")
    one_channel = "BinaryCrossEntropy"

    def __init__(self, upper_bound: NonNegativeFloat, ignore: int, sum_images: bool):
        super().__init__()
        self.upper_bound, self.ignore, self.sum_images = upper_bound, ignore, sum_images

    def weighted(self, logits: Tensor, target: Tensor) -> Tensor:
        """Weighted mean over each image's valid pixels, then mean or sum; an image without valid pixels adds 0."""
        self.need_channels(logits)
        logits, target = full_precision(logits), target.long()
        values = F.cross_entropy(logits, target, ignore_index=self.ignore, reduction="none").flatten(1)
        valid = (target != self.ignore).to(values.dtype)
        index = target * valid.long()
        pixels = count_by_class(index, valid, logits.shape[1])
        share = pixels / pixels.sum(1, keepdim=True).clamp_min(1)
        weight = (1 + self.upper_bound * (1 - share)).gather(1, index.flatten(1)) * valid.flatten(1)
        total = weight.sum(1)
        means = (values * weight).sum(1) / torch.where(total > 0, total, 1.0)
        return means.sum() if self.sum_images else means.mean()


@LOSSES.register
class ImageWeightedCrossEntropy(_ImageWeighted):
    """Cross entropy with class weights computed from each image: classes that are rare in it count more.

    A class that fills the share s of an image's valid pixels is weighted by 1 + upper_bound (1 - s). Takikawa et al.,
    Gated-SCNN, ICCV 2019, https://arxiv.org/abs/1907.05740, in its authors' form. Weighted mean over the image's valid
    pixels, then mean over images; an image without valid pixels adds 0.

    Args:
        upper_bound: what a class without pixels would gain in weight.
        ignore: label that is left out.
        sum_images: sums over the images of a process instead, as the authors do, who train one image per GPU.
    """

    def __init__(self, upper_bound: NonNegativeFloat = 1.0, ignore: int = IGNORE, *, sum_images: bool = False):
        super().__init__(upper_bound, ignore, sum_images)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Computes the loss.

        Args:
            logits: float [B,K,H,W].
            target: int64 [B,H,W].

        Returns:
            float [].
        """
        return self.weighted(logits, target)


@LOSSES.register
class EdgeAttention(_ImageWeighted):
    """ImageWeightedCrossEntropy on the pixels near predicted edges.

    Classes must be right where the edge branch sees an edge, with a probability above `threshold`. Gated-SCNN, eq. 8.
    The edge branch gets no gradient from it. An image without such pixels adds 0 (in the published code NaN).

    Args:
        threshold: probability of an edge above which a pixel takes part.
        upper_bound: what a class without pixels would gain in weight.
        ignore: label that is left out.
        sum_images: sums over images instead of taking their mean, as ImageWeightedCrossEntropy.
    """

    def __init__(
        self,
        threshold: Fraction = 0.8,
        upper_bound: NonNegativeFloat = 1.0,
        ignore: int = IGNORE,
        *,
        sum_images: bool = False,
    ):
        super().__init__(upper_bound, ignore, sum_images)
        self.threshold = threshold

    def forward(self, logits: Tensor, edge_logits: Tensor, target: Tensor) -> Tensor:
        """Computes the loss.

        Args:
            logits: float [B,K,H,W].
            edge_logits: float [B,1,H,W].
            target: int64 [B,H,W].

        Returns:
            float [].
        """
        near = full_precision(edge_logits.detach()).sigmoid().amax(1) > self.threshold
        return self.weighted(logits, torch.where(near, target, self.ignore))


@LOSSES.register
class BoundaryOHEM(OHEM):
    """OHEM on the pixels near predicted edges: the boundary-awareness loss of PIDNet, eq. 6.

    The edge branch gets no gradient from it. A batch without such pixels gives 0. Xu et al., PIDNet, CVPR 2023,
    https://arxiv.org/abs/2206.02066. Other arguments: OHEM.

    Args:
        loss, threshold, min_kept, per_image, average, ignore: as OHEM.
        edge_threshold: probability of an edge above which a pixel takes part.
    """

    def __init__(
        self,
        loss: PixelLoss | None = None,
        threshold: Fraction | None = 0.7,
        min_kept: NonNegativeInt = 100_000,
        per_image: bool = False,
        average: Annotated[str, OneOf(OHEM_AVERAGES)] = "kept",
        ignore: int = IGNORE,
        *,
        edge_threshold: Fraction = 0.8,
    ):
        super().__init__(loss, threshold, min_kept, per_image, average, ignore)
        self.edge_threshold = edge_threshold

    def forward(self, logits: Tensor, edge_logits: Tensor, target: Tensor) -> Tensor:  # type: ignore[override]
        """Computes the loss.

        Args:
            logits: float [B,K,H,W].
            edge_logits: float [B,1,H,W].
            target: int64 [B,H,W].

        Returns:
            float [], 0 where nothing is valid.
        """
        near = full_precision(edge_logits.detach()).sigmoid().amax(1) > self.edge_threshold
        return super().forward(logits, torch.where(near, target, self.ignore))
