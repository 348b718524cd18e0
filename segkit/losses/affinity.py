"""Affinity loss of the context prior.

Yu et al., CPNet, CVPR 2020, section 3.2, https://arxiv.org/abs/2004.01547. B batch, H W image, N = h w positions of the
features.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from segkit.constraints.named import PositiveInt
from segkit.losses.base import Loss
from segkit.ops.averaging import full_precision
from segkit.registry import LOSSES
from segkit.types import IGNORE

LEAST = 1e-12


@LOSSES.register
class Affinity(Loss):
    """Affinity loss: trains a map that says which positions of the features belong to the same class.

    Sum of a unary and a global term (eq. 6 to 8 of the paper). Unary: mean binary cross entropy over all pairs of
    positions. Global: -log of the precision, recall and specificity of each row, each a mean over rows; in precision
    and recall a position is not its own partner. Rows without a partner (recall and precision) or without a position of
    another class (specificity) do not count: the published code gives them a constant of 100.

    Args:
        size: (h, w) of the features; the labels are resized to it by nearest neighbour, and ignored pixels form a class
            of their own.
        ignore: label of pixels without a class; an image of such pixels alone does not count.
    """

    row = dict(target="mask")

    def __init__(self, size: tuple[PositiveInt, PositiveInt], ignore: int = IGNORE):
        super().__init__()
        self.size, self.ignore = tuple(size), ignore

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Computes the loss.

        Args:
            logits: float [B,N,N] of the context prior.
            target: int64 [B,H,W].

        Returns:
            float [], 0 where nothing is valid.
        """
        logits = full_precision(logits)
        small = F.interpolate(target.unsqueeze(1).to(logits.dtype), size=self.size, mode="nearest").flatten(1)
        same = small.unsqueeze(2) == small.unsqueeze(1)
        partner = same & ~torch.eye(same.shape[1], dtype=torch.bool, device=same.device)
        label = same.to(logits.dtype)
        unary = F.binary_cross_entropy_with_logits(logits, label, reduction="none").flatten(1).mean(1)
        p = logits.sigmoid()
        hits = (p * partner).sum(2)
        has_partner, has_stranger = partner.any(2), (~same).any(2)
        precision = _minus_log(hits / p.sum(2).clamp_min(LEAST), has_partner)
        recall = _minus_log(hits / partner.sum(2).clamp_min(1), has_partner)
        rejected = (torch.sigmoid(-logits) * ~same).sum(2)
        specificity = _minus_log(rejected / (~same).sum(2).clamp_min(1), has_stranger)
        has_label = (target != self.ignore).flatten(1).any(1)
        total = (unary + precision + recall + specificity) * has_label
        return total.sum() / has_label.sum().clamp_min(1)


def _minus_log(share: Tensor, counts: Tensor) -> Tensor:
    """Mean of -log share, float [B,N], over the rows that count, bool [B,N]: float [B]."""
    values = torch.where(counts, -share.clamp_min(LEAST).log(), 0.0)
    return values.sum(1) / counts.sum(1).clamp_min(1)
