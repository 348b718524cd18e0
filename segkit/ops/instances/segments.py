"""Panoptic segments: masks that do not overlap, from the queries of a mask classifier, and as a map.

Cheng et al., MaskFormer, NeurIPS 2021, section 3.4 (general inference), https://arxiv.org/abs/2107.06278. Q queries, K
classes, n segments, H W image.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from segkit.ops.instances.query_results import mask_boxes
from segkit.types import RLE, Found


def sure_queries(class_logits: Tensor, least: float) -> tuple[Tensor, Tensor, Tensor]:
    """Chooses the queries that become segments.

    Args:
        class_logits: float [Q,K+1], the last class being no object.
        least: class probability above which a query is kept.

    Returns:
        The kept queries, int64 [q] in order, and their probabilities, float32 [q], and classes, int64 [q].
    """
    scores, labels = class_logits.float().softmax(1).max(1)
    kept = torch.nonzero((labels < class_logits.shape[1] - 1) & (scores > least))[:, 0]
    return kept, scores[kept], labels[kept]


def merged_segments(
    scores: Tensor, labels: Tensor, mask_logits: Tensor, *, things: Sequence[int], overlap: float
) -> Found:
    """Gives each pixel to one query, and makes segments of what each query then has.

    A pixel goes to the query with the highest product of class and mask probability, and is in its segment where the
    mask's probability is 0.5 or more. A query that keeps too little of its own mask becomes no segment; the queries of
    a class that is no thing become one.

    Args:
        scores: float32 [q], class probabilities.
        labels: int64 [q].
        mask_logits: float [q,H,W] at the size of the result.
        things: the classes whose segments stay apart.
        overlap: least share of a query's own mask that the query must keep.

    Returns:
        The segments, the best score first, of the first query where several became one; masks do not overlap.
    """
    size = mask_logits.shape[1:]
    if not len(scores):
        return Found(scores, labels, mask_logits.new_zeros((0, *size), dtype=torch.bool), scores.new_zeros((0, 4)))
    probabilities = mask_logits.float().sigmoid()
    inside = probabilities >= 0.5
    owner = (scores.view(-1, 1, 1) * probabilities).argmax(0)
    own_areas = inside.flatten(1).sum(1).tolist()
    areas = torch.bincount(owner.flatten(), minlength=len(scores)).tolist()
    segments: dict[tuple[int, int], Tensor] = {}
    first: list[int] = []
    for query, label in enumerate(labels.tolist()):
        mask = (owner == query) & inside[query]
        if not own_areas[query] or areas[query] / own_areas[query] < overlap or not mask.any():
            continue
        key = (label, query if label in things else -1)
        if key in segments:
            segments[key] |= mask
        else:
            segments[key] = mask
            first.append(query)
    kept = torch.tensor(first, dtype=torch.long, device=scores.device)
    order = scores[kept].argsort(descending=True, stable=True)
    masks = torch.stack([*segments.values()]) if segments else inside[:0]
    return Found(scores[kept][order], labels[kept][order], masks[order], mask_boxes(masks[order]))


def segment_map(masks: Sequence[RLE] | Tensor | np.ndarray, size: tuple[int, int], name: str) -> np.ndarray:
    """Draws masks that do not overlap as a map of their numbers.

    Args:
        masks: n compressed run-length codes, or [n,H,W], not 0 inside.
        size: (H, W).
        name: of the masks, for the error.

    Returns:
        int32 [H,W], number 1..n of the mask at each pixel, 0 for none.

    Raises:
        ValueError: two masks overlap, or are of another size.
    """
    from pycocotools import mask as coco_mask

    result = np.zeros(size, np.int32)
    for number, mask in enumerate(masks, 1):
        inside = coco_mask.decode(mask) > 0 if isinstance(mask, dict) else np.asarray(mask) != 0
        if inside.shape != result.shape:
            raise ValueError(f"{name} are of {inside.shape} pixels, the image of {result.shape}; they must be equal")
        if result[inside].any():
            raise ValueError(
                f"{name} overlap; panoptic segments do not: predict with the runner Panoptic, on panoptic data"
            )
        result[inside] = number
    return result
