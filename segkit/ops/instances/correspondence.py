"""Dense correspondence between objects of one class, and a contrastive loss on it.

Lan et al., DiscoBox, ICCV 2021, section 3.3, https://arxiv.org/abs/2105.06464. n objects, r other objects for each of
them, C channels, s x s cells of an object's features.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from segkit.ops.averaging import full_precision


@torch.no_grad()
def correspondence(features: Tensor, others: Tensor, *, rounds: int = 10, temperature: float = 0.05) -> Tensor:
    """Assigns the cells of an object softly to the cells of other objects.

    Starts from cosine similarities. In every round each assignment is increased by the mean of the assignments of the 3
    x 3 cells around both of its ends, so that neighbours go to neighbours, and goes through a softmax again.

    Args:
        features: float [C,s,s] or [n,C,s,s].
        others: float [r,C,s,s] or [n,r,C,s,s].
        rounds: number of rounds; 0 is the softmax of the cosines.
        temperature: of the softmax.

    Returns:
        float32 [r,s s,s s] or [n,r,s s,s s]: for each cell of the object, its assignment to each cell of the other
        object; rows add up to 1.
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
    """InfoNCE: pulls each cell towards the cell of the other object that it is assigned to.

    The loss of a cell is -log softmax over the cells of the other object, at the cell with the largest assignment.

    Args:
        features, others, assignment: see correspondence.
        inside: bool or float [s,s] or [n,s,s], the cells that belong to the object, or the weight of each.
        temperature: of the softmax.

    Returns:
        float32 [], the mean over the cells inside and over objects; 0 with a graph where there are none.
    """
    cosine = _cosines(features, others) / temperature
    values = F.cross_entropy(cosine.flatten(0, -2), assignment.argmax(-1).flatten(), reduction="none")
    values = values.view(assignment.shape[:-1])
    weight = inside.flatten(-2).unsqueeze(-2).to(values.dtype).expand_as(values)
    return (values * weight).sum() / weight.sum().clamp_min(1)


def _smooth(assignment: Tensor, side: int) -> Tensor:
    """Averages float [m,s s,s s] over the 3 x 3 cells around the second end; 0 outside."""
    maps = assignment.unflatten(2, (side, side))
    return F.avg_pool2d(maps, 3, stride=1, padding=1).flatten(2)


def _cosines(features: Tensor, others: Tensor) -> Tensor:
    """Returns float32 [...,r,s s,s s]."""
    normalized = F.normalize(full_precision(features).flatten(-2), dim=-2)
    others = F.normalize(full_precision(others).flatten(-2), dim=-2)
    with torch.autocast(features.device.type, enabled=False):
        return normalized.transpose(-1, -2).unsqueeze(-3) @ others
