"""Instances from the cells of a SOLO head. Wang et al., SOLOv2, NeurIPS 2020, section 3.4,
https://arxiv.org/abs/2003.10152. N cells of all levels, K classes, D channels, n instances, h w map."""

from typing import NamedTuple

import torch
from torch import Tensor

from segkit.ops.instances.matrix_nms import best_scores, matrix_nms

CHUNK = 256
"""Masks that are made at a time while candidates are only measured."""


class CellRules(NamedTuple):
    """score: a class's probability above which a cell is a candidate; mask: probability above which a pixel is of the
    mask; candidates: how many enter the decay of scores; keep: decayed score that is enough; limit: of instances;
    decay, sigma: as kernel and sigma of matrix_nms."""

    score: float = 0.05
    mask: float = 0.5
    candidates: int = 500
    keep: float = 0.025
    limit: int = 100
    decay: str = "gaussian"
    sigma: float = 2.0


class FoundCells(NamedTuple):
    """The best score first: scores float32 [n]; labels int64 [n]; masks float32 [n,h,w], probabilities."""

    scores: Tensor
    labels: Tensor
    masks: Tensor


@torch.no_grad()
def best_cells(scores: Tensor, kernels: Tensor, features: Tensor, areas: Tensor, rules: CellRules) -> FoundCells:
    """scores: float [N,K] probabilities; kernels: float [N,D]; features: float [D,h,w]; areas: float [N], pixels of the
    map that a cell's mask has to exceed. A candidate's score is its class's probability times the mean probability of
    its mask; the scores of worse masks of a class decay by their overlap with better ones."""
    cells, labels = (scores > rules.score).nonzero(as_tuple=True)
    used, place = cells.unique(return_inverse=True)
    kernels, features = kernels[used].float(), features.float()
    sizes, quality = _measure(kernels, features, rules.mask)
    kept = sizes[place] > areas[cells]
    found, labels, place = (scores[cells, labels].float() * quality[place])[kept], labels[kept], place[kept]
    order = found.argsort(descending=True, stable=True)[: rules.candidates]
    found, labels, place = found[order], labels[order], place[order]
    masks = probabilities(kernels[place], features)
    found = matrix_nms(masks > rules.mask, labels, found, kernel=rules.decay, sigma=rules.sigma)
    order = best_scores(found, threshold=rules.keep, limit=len(found))[: rules.limit]
    return FoundCells(found[order], labels[order], masks[order])


def probabilities(kernels: Tensor, features: Tensor) -> Tensor:
    """kernels: float [n,D]; features: float [D,h,w] -> float [n,h,w]."""
    with torch.autocast(features.device.type, enabled=False):
        return (kernels @ features.flatten(1)).sigmoid().unflatten(1, features.shape[1:])


def _measure(kernels: Tensor, features: Tensor, threshold: float) -> tuple[Tensor, Tensor]:
    """-> float [n] pixels of each mask, float [n] their mean probability (0 for an empty one)."""
    parts = [kernels.new_zeros(2, 0)]
    for part in kernels.split(CHUNK):
        chances = probabilities(part, features).flatten(1)
        inside = chances > threshold
        area = inside.sum(1)
        parts.append(torch.stack([area.float(), (chances * inside).sum(1) / area.clamp_min(1)]))
    sizes, quality = torch.cat(parts, 1)
    return sizes, quality
