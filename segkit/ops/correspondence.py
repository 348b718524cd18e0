"""Which cell of one object is which of another of its class, and a contrast that makes features say so.

Lan et al., DiscoBox, ICCV 2021, section 3.3, https://arxiv.org/abs/2105.06464.
r other objects, C channels, s x s cells of an object's features.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from segkit.ops.averaging import full_precision


@torch.no_grad()
def correspondence(features: Tensor, others: Tensor, *, rounds: int = 10, temperature: float = 0.05) -> Tensor:
    """features: float [C,s,s]; others: float [r,C,s,s] -> float32 [r,s s,s s], how much each cell of the object goes to
    each cell of another (rows add up to 1).

    Starts from cosines. Every round an assignment gains the mean of those of the 3 x 3 cells around both of its ends,
    so that neighbours go to neighbours; then it goes through a softmax again.
    """
    cosine = _cosines(features, others)
    number, side = len(others), features.shape[-1]
    assignment = (cosine / temperature).softmax(2)
    for _ in range(rounds):
        support = assignment
        for dims in ((side * side, side, side), (side, side, side * side)):
            split = support.view(number, *dims)
            if dims[0] == side:  # the cells of the object itself
                split = split.flatten(3).permute(0, 3, 1, 2)
            mean = F.avg_pool2d(split, 3, stride=1, padding=1)
            support = (mean if dims[0] != side else mean.permute(0, 2, 3, 1)).reshape_as(assignment)
        assignment = ((cosine + support) / temperature).softmax(2)
    return assignment


def correspondence_loss(
    features: Tensor, others: Tensor, assignment: Tensor, inside: Tensor, *, temperature: float = 0.05
) -> Tensor:
    """features, others, assignment: as correspondence; inside: bool [s,s], the object's own cells -> float32 [],
    InfoNCE: -log softmax over the cells of another object at the one that a cell is assigned to, mean over these
    cells and over objects; 0 with a graph without any."""
    cosine = _cosines(features, others)
    values = F.cross_entropy(
        (cosine / temperature).flatten(0, 1), assignment.argmax(2).flatten(), reduction="none"
    ).view(len(others), -1)
    weight = inside.flatten().to(values.dtype).expand_as(values)
    return (values * weight).sum() / weight.sum().clamp_min(1)


def _cosines(features: Tensor, others: Tensor) -> Tensor:
    """-> float32 [r,s s,s s]."""
    own = F.normalize(full_precision(features).flatten(1), dim=0)
    other = F.normalize(full_precision(others).flatten(2), dim=1)
    with torch.autocast(features.device.type, enabled=False):
        return own.T.unsqueeze(0) @ other
