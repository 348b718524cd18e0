"""Masks that a teacher finds, as labels of a student: how sure each is, and which object it belongs to.

Cheng et al., BoxTeacher, CVPR 2023, sections 3.2 and 3.3, https://arxiv.org/abs/2210.05174. n objects of an image, m
instances that were found in it, H W image.
"""

import torch
from torch import Tensor

from segkit.types import Found


def certainty(probabilities: Tensor, threshold: float = 0.5) -> Tensor:
    """Computes how sure masks are: the mean probability of their pixels.

    Args:
        probabilities: float [m,H,W].
        threshold: a pixel belongs to the mask above this probability.

    Returns:
        float [m] in 0..1, 0 for a mask without a pixel.
    """
    inside = probabilities > threshold
    total = (probabilities * inside).sum((1, 2))
    return total / inside.sum((1, 2)).clamp_min(1)


def mask_quality(scores: Tensor, certainties: Tensor) -> Tensor:
    """Computes the mask-aware confidence of instances, the root of root score times certainty (eq. 2).

    Args:
        scores: of the boxes, float [m] in 0..1.
        certainties: of the masks, see certainty.

    Returns:
        float [m] in 0..1.
    """
    return (scores.sqrt() * certainties).sqrt()


def rescored(found: Found, certainties: Tensor) -> Found:
    """Gives instances the score root of score times certainty, and their quality, the best score first.

    Args:
        found: instances with the scores of their boxes.
        certainties: of the masks, see certainty.

    Returns:
        The same instances in the order of the new scores, with `quality`.
    """
    scores, order = (found.scores * certainties).sqrt().sort(descending=True, stable=True)
    quality = mask_quality(found.scores, certainties)[order]
    return Found(scores, found.labels[order], found.masks[order], found.boxes[order], quality)


def match_objects(scores: Tensor, predicted: Tensor, boxes: Tensor, *, iou: float = 0.5, score: float = 0.0) -> Tensor:
    """Gives each object at most one predicted instance, by their boxes.

    Instances come by falling score; each takes, of the objects that are still free, the one whose box overlaps its own
    most. The published code takes the instance that stands first in the list for none, so that a later one can take its
    object away; here an object that is taken stays taken.

    Args:
        scores: float [m].
        predicted: boxes of the instances, float [m,4].
        boxes: of the objects, float [n,4].
        iou: least overlap of the boxes.
        score: least score of an instance.

    Returns:
        int64 [n], the instance of each object, -1 for none.
    """
    from torchvision.ops import box_iou

    chosen = torch.full((len(boxes),), -1, dtype=torch.int64)
    if not len(boxes) or not len(predicted):
        return chosen.to(boxes.device)
    # one transfer, and the search on the CPU: every step depends on the one before
    overlaps = box_iou(predicted.float(), boxes.to(predicted.device).float()).cpu()
    order = scores.argsort(descending=True, stable=True)
    for index, value in zip(order.tolist(), scores[order].tolist()):
        free = torch.where(chosen < 0, overlaps[index], -1.0)
        best = int(free.argmax())
        if value >= score and free[best] >= iou:
            chosen[best] = index
    return chosen.to(boxes.device)


def pseudo_masks(found: Found, boxes: Tensor, *, iou: float = 0.5, score: float = 0.0) -> tuple[Tensor, Tensor]:
    """Makes the masks that a teacher found the labels of the objects.

    Args:
        found: instances of the image, with `quality`.
        boxes: of the objects, float [n,4].
        iou, score: see match_objects.

    Returns:
        The masks, bool [n,H,W], empty where an object has none, and their quality, float32 [n], 0 there.

    Raises:
        ValueError: the instances have no quality.
    """
    if found.quality is None:
        raise ValueError("the instances have no quality; a head gives it: CondInstHead(rescore=True)")
    chosen = match_objects(found.scores, found.boxes, boxes, iou=iou, score=score).to(found.scores.device)
    has_mask = chosen >= 0
    masks = torch.zeros(len(boxes), *found.masks.shape[1:], dtype=torch.bool, device=found.masks.device)
    masks[has_mask] = found.masks[chosen[has_mask]]
    quality = torch.zeros(len(boxes), device=found.scores.device)
    quality[has_mask] = found.quality[chosen[has_mask]].float()
    return masks, quality
