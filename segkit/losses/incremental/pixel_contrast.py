"""UCD: contrast of pixels of one class with those of others, weighted by how certain the teacher is that they agree.

Yang et al., Uncertainty-aware Contrastive Distillation for Incremental Semantic Segmentation, TPAMI 2022,
https://arxiv.org/abs/2203.14098. B batch, K classes of the step before with the background, C channels, h w features, P
= B h w positions.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from segkit.constraints.named import PositiveFloat, PositiveInt
from segkit.losses.base import Loss
from segkit.ops.averaging import full_precision, zero_of
from segkit.ops.incremental.prototypes import labels_at
from segkit.registry import LOSSES
from segkit.types import IGNORE

FAR = -1e4
"""A similarity that no pair has: its exponential is 0."""


@LOSSES.register
class UncertaintyContrast(Loss):
    """Contrast of positions by their class, weighted by the teacher's certainty that two of them agree.

    A position's class is its label, and what the teacher finds where the label is the background; background takes no
    part. Each such position is an anchor; it is compared with all others, and with the teacher's features where the
    teacher found the class. -log(exp(s_ij) / (exp(s_ij) + sum_n exp(s_in))) over the others j of the anchor's class,
    with s the cosine / T and n the positions of other classes, weighted by the product of the teacher's probabilities
    (1 between two positions of new classes), divided by the number of j, averaged over the anchors that have one. What
    is compared gets no gradient, the anchors do. UCD, section 3.3; row weight 0.01 beside MiB's rows. Takes memory of
    2 (P / stride^2)^2 numbers.

    Args:
        temperature: T.
        as_published: subtracts the largest similarity from those of the same class alone and not from those of the
            others, as the authors' code does: that is no probability.
        stride: every stride-th row and column of the map takes part.
        ignore: label that is left out.
    """

    row = dict(on=["embedding", "teacher.embedding", "teacher.logits"], target="mask", at="native")

    def __init__(
        self,
        temperature: PositiveFloat = 0.07,
        as_published: bool = False,
        stride: PositiveInt = 1,
        ignore: int = IGNORE,
    ):
        super().__init__()
        self.temperature, self.as_published, self.stride, self.ignore = temperature, as_published, stride, ignore

    def forward(self, features: Tensor, teacher_features: Tensor, teacher_logits: Tensor, target: Tensor) -> Tensor:
        """Computes the loss.

        Args:
            features: float [B,C,h,w].
            teacher_features: float [B,C,h,w].
            teacher_logits: float [B,K,h,w].
            target: int64 [B,H,W]; 0 is the background.

        Returns:
            float [], 0 where no position has a partner.
        """
        features = full_precision(features)
        given = labels_at(target.long(), (features.shape[2], features.shape[3]))[:, :: self.stride, :: self.stride]
        labels = given.flatten()
        teacher = teacher_logits.detach()[..., :: self.stride, :: self.stride].to(features.dtype)
        taught = teacher.permute(0, 2, 3, 1).flatten(0, 2)
        found = torch.where(labels == 0, taught.argmax(1), labels)
        found = torch.where(labels == self.ignore, 0, found)
        anchors = self._directions(features)
        old = self._directions(teacher_features.detach().to(features.dtype))
        is_old = (labels == 0) & (found > 0)
        similarity = anchors @ torch.cat([anchors.detach(), old]).t() / self.temperature
        # the teacher's features stand for the positions where the teacher found a class
        classes = torch.cat([found, torch.where(is_old, found, 0)])
        weight = self._agreement(taught.softmax(1), found >= teacher_logits.shape[1])
        return self._contrast(similarity, found, classes, torch.cat([weight, weight], 1)) + zero_of(features)

    def _directions(self, features: Tensor) -> Tensor:
        """Unit vectors [P,C] of the positions that take part."""
        chosen = features[..., :: self.stride, :: self.stride]
        return F.normalize(chosen, dim=1).permute(0, 2, 3, 1).flatten(0, 2)

    @staticmethod
    def _agreement(probabilities: Tensor, is_new: Tensor) -> Tensor:
        """[P,P]: the probability that the teacher gives two positions the same class, 1 between two new ones."""
        are_new = is_new[:, None] & is_new
        return torch.where(are_new, 1.0, probabilities @ probabilities.t())

    def _contrast(self, similarity: Tensor, anchors: Tensor, classes: Tensor, weight: Tensor) -> Tensor:
        """Mean over anchors; similarity, weight: [P,2P]; anchors: int64 [P]; classes: int64 [2P]; 0: takes no part."""
        takes_part = (anchors > 0)[:, None] & (classes > 0)
        is_same = anchors[:, None] == classes
        is_itself = torch.arange(len(anchors), device=classes.device)[:, None] == torch.arange(
            len(classes), device=classes.device
        )
        positive = (takes_part & is_same & ~is_itself).to(similarity.dtype)
        negative = similarity.masked_fill(~takes_part | is_same, FAR)
        if self.as_published:
            largest = similarity.detach().masked_fill(~takes_part, -1 / self.temperature).amax(1, keepdim=True)
            shifted = similarity - largest
            values = (shifted.exp() + negative.exp().sum(1, keepdim=True)).log() - shifted
        else:
            values = F.softplus(negative.logsumexp(1, keepdim=True) - similarity)
        count = positive.sum(1)
        per_anchor = (values * positive * weight).sum(1) / count.clamp_min(1)
        return per_anchor.sum() / (count > 0).sum().clamp_min(1)
