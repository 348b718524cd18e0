"""Which cell of one object is which of another of its class, and a contrast that makes features say so.

Lan et al., DiscoBox, ICCV 2021, section 3.3, https://arxiv.org/abs/2105.06464.
n objects, r others for each of them, C channels, s x s cells of an object's features.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from segkit.ops.averaging import full_precision


@torch.no_grad()
def correspondence(features: Tensor, others: Tensor, *, rounds: int = 10, temperature: float = 0.05) -> Tensor:
    """features: float [C,s,s] or [n,C,s,s]; others: float [r,C,s,s] or [n,r,C,s,s] -> float32 [r,s s,s s] or [n,r,s s,
    s s], how much each cell of the object goes to each cell of another (rows add up to 1).

    Starts from cosines. Every round an assignment gains the mean of those of the 3 x 3 cells around both of its ends,
    so that neighbours go to neighbours; then it goes through a softmax again.
    """
    cosine = _cosines(features, others)
    shape, side = cosine.shape, features.shape[-1]
    cosine = cosine.reshape(-1, side * side, side * side)
    assignment = (cosine / temperature).softmax(2)
    for _ in range(rounds):
        support = _smooth(assignment, side)
        support = _smooth(support.transpose(1, 2), side).transpose(1, 2)
        assignment = ((cosine + support) / temperature).softmax(2)
    return assignment.reshape(shape)


def correspondence_loss(
    features: Tensor, others: Tensor, assignment: Tensor, inside: Tensor, *, temperature: float = 0.05
) -> Tensor:
    """features, others, assignment: as correspondence; inside: bool or float [s,s] or [n,s,s], the objects' own cells,
    or how much each counts -> float32 [], InfoNCE: -log softmax over the cells of another object at the one that a cell
    is assigned to, mean over these cells and over objects; 0 with a graph without any."""
    cosine = _cosines(features, others) / temperature
    values = F.cross_entropy(cosine.flatten(0, -2), assignment.argmax(-1).flatten(), reduction="none")
    values = values.view(assignment.shape[:-1])
    weight = inside.flatten(-2).unsqueeze(-2).to(values.dtype).expand_as(values)
    return (values * weight).sum() / weight.sum().clamp_min(1)


def _smooth(assignment: Tensor, side: int) -> Tensor:
    """float [m,s s,s s] -> the same, each the mean over the 3 x 3 cells around its second end, 0 outside."""
    maps = assignment.unflatten(2, (side, side))
    return F.avg_pool2d(maps, 3, stride=1, padding=1).flatten(2)


def _cosines(features: Tensor, others: Tensor) -> Tensor:
    """-> float32 [..., r,s s,s s]."""
    own = F.normalize(full_precision(features).flatten(-2), dim=-2)
    other = F.normalize(full_precision(others).flatten(-2), dim=-2)
    with torch.autocast(features.device.type, enabled=False):
        return own.transpose(-1, -2).unsqueeze(-3) @ other
