"""Inference of a SOLO head: instances from the scores and kernels of its cells.

Wang et al., SOLOv2, NeurIPS 2020, section 3.4, https://arxiv.org/abs/2003.10152. N cells of all levels, K classes, D
channels, n instances, h w features.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from segkit.ops.instances.matrix_nms import best_scores, matrix_nms

CHUNK = 256
"""Masks that are computed at a time while candidates are only measured."""


class CellRules(NamedTuple):
    """Thresholds and limits of the inference.

    Args:
        score: class probability above which a cell is a candidate.
        mask: probability above which a pixel belongs to the mask.
        candidates: number of candidates that enter Matrix NMS.
        keep: smallest score after Matrix NMS.
        limit: largest number of instances.
        decay: "gaussian" or "linear", the kernel of matrix_nms.
        sigma: of the Gaussian kernel, see matrix_nms.
    """

    score: float = 0.05
    mask: float = 0.5
    candidates: int = 500
    keep: float = 0.025
    limit: int = 100
    decay: str = "gaussian"
    sigma: float = 2.0


class FoundCells(NamedTuple):
    """Instances of an image, the best score first.

    Attributes:
        scores: float32 [n].
        labels: int64 [n].
        masks: float32 [n,h,w], probabilities.
    """

    scores: Tensor
    labels: Tensor
    masks: Tensor


@torch.no_grad()
def best_cells(scores: Tensor, kernels: Tensor, features: Tensor, areas: Tensor, rules: CellRules) -> FoundCells:
    """Finds the instances of an image.

    The score of a candidate is its class probability times the mean probability of its mask. Matrix NMS then lowers the
    scores of masks that overlap better ones of their class.

    Args:
        scores: float [N,K] class probabilities.
        kernels: float [N,D].
        features: float [D,h,w].
        areas: float [N], the number of pixels that a cell's mask must exceed.
        rules: thresholds and limits.

    Returns:
        At most `rules.limit` instances.
    """
    cells, labels = (scores > rules.score).nonzero(as_tuple=True)
    is_exported = torch.compiler.is_exporting()
    if is_exported:
        # a graph has no empty lists: a candidate whose score 0 drops out in the end stands behind the others
        nothing = cells.new_zeros(1)
        cells, labels = torch.cat([cells, nothing]), torch.cat([labels, nothing])
        used, inverse = cells, torch.arange(cells.shape[0], device=cells.device)
    else:
        used, inverse = cells.unique(return_inverse=True)
    kernels, features = kernels[used].float(), features.float()
    sizes, quality = _measure(kernels, features, rules.mask)
    is_kept = sizes[inverse] > areas[cells]
    if is_exported:
        is_last = inverse == cells.shape[0] - 1
        is_kept, quality = is_kept | is_last, torch.where(is_last, 0.0, quality)
    found_scores = (scores[cells, labels].float() * quality[inverse])[is_kept]
    labels, inverse = labels[is_kept], inverse[is_kept]
    order = found_scores.argsort(descending=True, stable=True)[: rules.candidates]
    found_scores, labels, inverse = found_scores[order], labels[order], inverse[order]
    masks = probabilities(kernels[inverse], features)
    decayed = matrix_nms(masks > rules.mask, labels, found_scores, kernel=rules.decay, sigma=rules.sigma)
    order = best_scores(decayed, threshold=rules.keep, limit=decayed.shape[0])[: rules.limit]
    return FoundCells(decayed[order], labels[order], masks[order])


def probabilities(kernels: Tensor, features: Tensor) -> Tensor:
    """Computes masks by applying each kernel to the features.

    Args:
        kernels: float [n,D].
        features: float [D,h,w].

    Returns:
        float [n,h,w] in 0..1.
    """
    with torch.autocast(features.device.type, enabled=False):
        return (kernels @ features.flatten(1)).sigmoid().unflatten(1, features.shape[1:])


def _measure(kernels: Tensor, features: Tensor, threshold: float) -> tuple[Tensor, Tensor]:
    """Returns the number of pixels of each mask, float [n], and their mean probability, float [n], 0 for none."""
    measures = [kernels.new_zeros(2, 0)]
    for chunk in (kernels,) if torch.compiler.is_exporting() else kernels.split(CHUNK):
        values = probabilities(chunk, features).flatten(1)
        inside = values > threshold
        area = inside.sum(1)
        measures.append(torch.stack([area.float(), (values * inside).sum(1) / area.clamp_min(1)]))
    sizes, quality = torch.cat(measures, 1)
    return sizes, quality
