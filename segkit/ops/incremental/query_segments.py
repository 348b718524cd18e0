"""Segments of old classes that a mask classifier of the step before finds, as pseudo labels of a class step.

CoMFormer, Cermelli et al., CVPR 2023, https://arxiv.org/abs/2211.13999; BalConpas, Chen et al., ECCV 2024,
https://arxiv.org/abs/2407.16354. Q queries, K old classes, n segments, H W image.
"""

from typing import NamedTuple

import torch
from torch import Tensor


class OldSegments(NamedTuple):
    """Segments that do not overlap, in the order of their queries.

    Attributes:
        scores: float32 [n], probabilities of the classes.
        labels: int64 [n], in 0..K-1.
        masks: bool [n,H,W].
    """

    scores: Tensor
    labels: Tensor
    masks: Tensor


def old_segments(
    class_logits: Tensor, masks: Tensor, truth: Tensor, *, share: float = 0.5, counts_faint: bool = True
) -> OldSegments:
    """Chooses the queries of the old model whose segments are left when each pixel has one query, and truth its pixels.

    A pixel belongs to the query with the highest product of class and mask probability, or to the truth. The segment of
    a query is what belongs to it with a mask probability of at least 0.5. A query is chosen if its segment is not empty
    and more is left of it than a share of the pixels with a mask probability of at least 0.5. The defaults are
    CoMFormer's; BalConpas has share=0.8 and counts_faint=False.

    Args:
        class_logits: float [Q,K+1], the last class being no object.
        masks: float [Q,H,W], mask probabilities at the image's size: sigmoids, or CoMFormer's softmax over all queries.
        truth: bool [H,W], pixels of labelled objects; none where the labels hold the old classes, too, as those of
            remembered images do.
        share: see above.
        counts_faint: whether what is left includes pixels of a mask probability below 0.5.

    Returns:
        The chosen segments.
    """
    scores, labels = class_logits.float().softmax(1).max(1)
    found = labels < class_logits.shape[1] - 1
    scores, labels, masks = scores[found], labels[found], masks[found].float()
    inside = masks >= 0.5
    if not len(scores):
        return OldSegments(scores, labels, inside)
    owner = (scores[:, None, None] * masks).argmax(0)
    owned = (owner == torch.arange(len(scores), device=owner.device)[:, None, None]) & ~truth
    segments = owned & inside
    left = (owned if counts_faint else segments).sum((1, 2))
    chosen = segments.any(2).any(1) & (left > share * inside.sum((1, 2)))
    return OldSegments(scores[chosen], labels[chosen], segments[chosen])
