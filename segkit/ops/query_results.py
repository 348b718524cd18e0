"""Instances from the queries of a mask classifier. Cheng et al., Mask2Former, CVPR 2022, section 4 (instance
inference), https://arxiv.org/abs/2112.01527. Q queries, K classes, n instances, H W image."""

from typing import NamedTuple

import torch
from torch import Tensor


class Found(NamedTuple):
    """The best score first: scores float32 [n]; labels int64 [n]; masks bool [n,H,W]; boxes float32 [n,4] x0, y0, x1,
    y1 around each mask, x1 and y1 exclusive, 0 for an empty one."""

    scores: Tensor
    labels: Tensor
    masks: Tensor
    boxes: Tensor


def best_queries(class_logits: Tensor, mask_logits: Tensor, *, limit: int = 100) -> Found:
    """class_logits: float [Q,K+1], the last class being no object; mask_logits: float [Q,H,W] at the size wanted -> at
    most `limit` pairs of query and class. A pair's score is the class's probability times the mean probability of the
    mask's pixels (those above 0.5); a query may come with several classes."""
    num_classes = class_logits.shape[1] - 1
    chances = class_logits.float().softmax(1)[:, :-1].flatten()
    chances, pairs = chances.topk(min(limit, len(chances)))
    queries = pairs // num_classes
    used, place = queries.unique(return_inverse=True)
    logits = mask_logits[used].float()
    masks = logits > 0
    inside = masks.flatten(1).float()
    quality = (logits.sigmoid().flatten(1) * inside).sum(1) / (inside.sum(1) + 1e-6)
    scores, order = (chances * quality[place]).sort(descending=True, stable=True)
    place = place[order]
    return Found(scores, (pairs % num_classes)[order], masks[place], mask_boxes(masks)[place])


def mask_boxes(masks: Tensor) -> Tensor:
    """masks: bool [n,H,W] -> float32 [n,4] x0, y0, x1, y1 around each, x1 and y1 exclusive; 0 for an empty mask."""
    sides = []
    for hit in (masks.any(1), masks.any(2)):
        places = torch.arange(hit.shape[1], device=masks.device)
        first = torch.where(hit, places, hit.shape[1]).amin(1)
        last = torch.where(hit, places + 1, 0).amax(1)
        sides += [torch.minimum(first, last), last]
    x0, x1, y0, y1 = sides
    return torch.stack([x0, y0, x1, y1], 1).float()
