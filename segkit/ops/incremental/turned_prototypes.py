"""STAR-Basic: features of old classes are drawn from the directions of their prototypes alone, without stored lengths.

Chen et al., Replay Without Saving: Prototype Derivation and Distribution Rebalance for Class-Incremental Semantic
Segmentation, TPAMI 2025, https://ieeexplore.ieee.org/document/10904177. K classes without the background, C channels.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from segkit.ops.incremental.prototypes import EPSILON, ClassStatistics, ReplayShares

FARTHEST = 1.999
"""Largest distance from a prototype that is drawn; two unit vectors are at most 2 apart."""


def draw_directions(statistics: ClassStatistics, numbers: list[int], rng: np.random.Generator) -> Tensor:
    """Draws unit vectors around the prototypes of old classes; all classes scatter as widely as they do on average.

    The distance from the prototype is |e| d with a normal number e. d is the mean over classes of the root mean square
    distance between the directions z / |z| of a class and its prototype. Every direction of the turn is as likely. What
    would be turned by more than 90 degrees is mirrored to this side of the prototype, as in the authors' code.

    Args:
        statistics: of K classes.
        numbers: K numbers of features.
        rng: draws the normal numbers.

    Returns:
        float32 [sum(numbers),C], the classes in their order.
    """
    distances = statistics.distances()
    is_known = statistics.prototypes.square().sum(1) > 0
    mean = distances[is_known].sum() / is_known.sum().clamp_min(1)
    return _turned(statistics.prototypes, mean.expand_as(distances), numbers, rng)


def draw_class_directions(statistics: ClassStatistics, numbers: list[int], rng: np.random.Generator) -> Tensor:
    """Draws as draw_directions does, with the distance d of each class itself; so the authors do on ADE20K.

    Args:
        statistics, numbers, rng: as for draw_directions.

    Returns:
        float32 [sum(numbers),C], the classes in their order.
    """
    return _turned(statistics.prototypes, statistics.distances(), numbers, rng)


def _turned(prototypes: Tensor, distances: Tensor, numbers: list[int], rng: np.random.Generator) -> Tensor:
    index = torch.repeat_interleave(torch.tensor(numbers, dtype=torch.int64)).to(prototypes.device)
    shapes = (len(index), 1), (len(index), prototypes.shape[1])
    size, aside = (torch.from_numpy(rng.standard_normal(shape, np.float32)).to(prototypes.device) for shape in shapes)
    center = prototypes[index]
    aside = F.normalize(aside - (aside * center).sum(1, keepdim=True) * center, dim=1, eps=EPSILON)
    apart = (size.abs() * distances[index, None]).clamp_max(FARTHEST)
    cosine = 1 - apart.square() / 2
    return cosine.abs() * center + (1 - cosine.square()).sqrt() * aside


def shares_as_counted(old: Tensor, seen: Tensor, batches: float, num_new: int, *, is_overlapped: bool) -> ReplayShares:
    """Finds how often old classes are replayed from what was counted, whatever images the steps share.

    Args:
        old: [1 + K], positions of the background and the old classes in the images of the steps before.
        seen: [1 + K], positions without a label in the images of this step, by the class that the teacher finds.
        batches: batches of one pass over the images.
        num_new, is_overlapped: not used; as for prototypes.replay_shares.
    """
    old, seen = old.double().cpu(), seen.double().cpu()
    kept = torch.cat([(old[0] + seen[0])[None], old[1:]])
    return ReplayShares((old[1:] / batches).int().tolist(), float(old[0] / seen[0].clamp_min(1)), kept)
