"""Instances from the queries of a mask classifier. Cheng et al., Mask2Former, CVPR 2022, section 4 (instance
inference), https://arxiv.org/abs/2112.01527. Q queries, K classes, n instances, H W image."""

import torch
from torch import Tensor

from segkit.ops.resizing import resize
from segkit.types import Found


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


def at_original(maps: Tensor, size: tuple[int, int], meta: dict) -> Tensor:
    """maps: float [n,h,w] over an input of size (H, W) pixels; meta: dict(size=(H0, W0) of the file, valid=(h, w) of
    the image in its padding; without it nothing is padded) -> float [n,H0,W0]: resized to the input, its padding cut
    off, resized to the file, each bilinear."""
    height, width = meta.get("valid", size)
    return resize(resize(maps, size=size)[:, :height, :width], size=tuple(meta["size"]))
