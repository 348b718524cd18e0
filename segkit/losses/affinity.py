"""Affinity loss of the context prior. Yu et al., CPNet, CVPR 2020, section 3.2, https://arxiv.org/abs/2004.01547.
B batch, H W image, N = h w positions of the features."""

import torch
import torch.nn.functional as F
from torch import Tensor

from segkit.losses.base import Loss
from segkit.ops.averaging import full_precision
from segkit.registry import LOSSES

LEAST = 1e-12


@LOSSES.register
class Affinity(Loss):
    """Do two positions belong to one class? Unary plus global term (eq. 6 to 8 of the paper).

    size: (h, w) of the features; labels are brought to it by nearest neighbour, ignored pixels being a class of their
    own. Unary: mean binary cross entropy over all pairs. Global: -log of precision, recall and specificity of each row,
    each a mean over rows; a position is no partner of itself in the first two. Rows without a partner (recall and
    precision) or without a stranger (specificity) do not count: the published code gives them a constant of 100.
    """

    row = dict(target="mask")

    def __init__(self, size: tuple[int, int], ignore: int = 255):
        super().__init__()
        self.size, self.ignore = tuple(size), ignore

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """logits: float [B,N,N] of the prior; target: int64 [B,H,W] -> float [], 0 where nothing is valid."""
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
    """share: float [B,N]; counts: bool [B,N] -> float [B], mean of -log share over the rows that count."""
    values = torch.where(counts, -share.clamp_min(LEAST).log(), 0.0)
    return values.sum(1) / counts.sum(1).clamp_min(1)
