"""Inference of a mask classifier: instances and semantic scores from the classes and masks of its queries.

Cheng et al., Mask2Former, CVPR 2022, section 4 (instance inference), https://arxiv.org/abs/2112.01527, and MaskFormer,
NeurIPS 2021, section 3.4 (semantic inference), https://arxiv.org/abs/2107.06278. B images, Q queries, K classes, n
instances, H W image, H0 W0 image as stored, h w masks.
"""

import numpy as np
import torch
from torch import Tensor

from segkit.ops.averaging import full_precision
from segkit.ops.resizing import is_free, is_resized, resize, to_original
from segkit.types import Found, Meta

PIXELS_AT_ONCE = 2**23
"""Pixels of enlarged masks that are held at a time: 32 MiB."""


def semantic_scores(class_logits: Tensor, mask_logits: Tensor, size: tuple[int, int]) -> Tensor:
    """Computes the score of each class at each pixel: the sum over queries of class probability times mask probability.

    A few queries are resized at a time, so that not all of them exist at the image's size at once.

    Args:
        class_logits: float [B,Q,K+1], the last class being no object.
        mask_logits: float [B,Q,h,w].
        size: (H, W) of the image, to which the logits of the masks are resized first.

    Returns:
        float32 [B,K,H,W], 0 or more; several queries of one class can make it more than 1.
    """
    with torch.autocast(class_logits.device.type, enabled=False):
        probabilities = full_precision(class_logits).softmax(2)[:, :, :-1].transpose(1, 2)
        masks = full_precision(mask_logits)
        step = masks.shape[1]
        if not is_free(*size):
            step = max(1, PIXELS_AT_ONCE // (len(masks) * size[0] * size[1]))
        scores = probabilities.new_zeros(*probabilities.shape[:2], size[0] * size[1])
        for share, logits in zip(probabilities.split(step, 2), masks.split(step, 1)):
            scores = torch.baddbmm(scores, share, resize(logits, size=size).sigmoid().flatten(2))
        return scores.unflatten(2, size)


def best_queries(class_logits: Tensor, mask_logits: Tensor, *, limit: int = 100) -> Found:
    """Takes the pairs of a query and a class with the highest class probabilities as instances.

    The score of a pair is its class probability times the mean probability of the pixels of its mask (those above 0.5).
    A query may appear with several classes.

    Args:
        class_logits: float [Q,K+1], the last class being no object.
        mask_logits: float [Q,H,W] at the size of the result.
        limit: largest number of instances.

    Returns:
        The instances, the best score first.
    """
    num_classes = class_logits.shape[1] - 1
    probabilities = class_logits.float().softmax(1)[:, :-1].flatten()
    probabilities, pairs = probabilities.topk(min(limit, len(probabilities)))
    queries = pairs // num_classes
    if torch.compiler.is_exporting():  # a graph of fixed shapes, in which a mask may stand twice
        used, inverse = queries, torch.arange(len(queries), device=queries.device)
    else:
        used, inverse = queries.unique(return_inverse=True)
    logits = mask_logits[used].float()
    masks = logits > 0
    inside = masks.flatten(1).float()
    quality = (logits.sigmoid().flatten(1) * inside).sum(1) / (inside.sum(1) + 1e-6)
    scores, order = (probabilities * quality[inverse]).sort(descending=True, stable=True)
    inverse = inverse[order]
    return Found(scores, (pairs % num_classes)[order], masks[inverse], mask_boxes(masks)[inverse])


def mask_boxes(masks: Tensor) -> Tensor:
    """Returns the bounding box of each mask.

    Args:
        masks: bool [n,H,W].

    Returns:
        float32 [n,4] x0, y0, x1, y1, x1 and y1 exclusive; 0 for an empty mask.
    """
    sides = []
    for hit in (masks.any(1), masks.any(2)):
        positions = torch.arange(hit.shape[1], device=masks.device)
        first = torch.where(hit, positions, hit.shape[1]).amin(1)
        last = torch.where(hit, positions + 1, 0).amax(1)
        sides += [torch.minimum(first, last), last]
    x0, x1, y0, y1 = sides
    return torch.stack([x0, y0, x1, y1], 1).float()


def at_original(maps: Tensor, size: tuple[int, int], meta: Meta) -> Tensor:
    """Brings maps back to the original size of their image.

    They are resized to the network's input, cut to the image without its padding, flipped back where the image was
    flipped, and resized to the size of the file, each time bilinearly.

    Args:
        maps: float [n,h,w] over the input.
        size: (H, W) of the input, padding included.
        meta: of the image; its `size` is that of the file, `valid` that of the image in its padding, `matrix` the way
            from the one to the other. Without `valid` nothing is padded.

    Returns:
        float [n,H0,W0].
    """
    height, width = meta.get("valid", size)
    seen = resize(maps, size=size)[:, :height, :width]
    height0, width0 = meta["size"]
    return to_original(seen, (height0, width0), meta.get("matrix"), seen=(height, width))


def boxes_at_original(boxes: Tensor, size: tuple[int, int], meta: Meta) -> Tensor:
    """Brings boxes back to the original size of their image.

    Args:
        boxes: float [n,4] x0, y0, x1, y1 in pixels of the input.
        size, meta: as in at_original.

    Returns:
        float [n,4] in pixels of the stored image.
    """
    height, width = meta.get("valid", size)
    height0, width0 = meta["size"]
    if "matrix" not in meta or is_resized(meta["matrix"], (height0, width0), (height, width)):
        return boxes * boxes.new_tensor([width0 / width, height0 / height] * 2)
    linear, shift = meta["matrix"][:, :2], meta["matrix"][:, 2]
    back = boxes.new_tensor(np.linalg.inv(linear))
    corners = (boxes.view(-1, 2, 2) - boxes.new_tensor(shift)) @ back.T
    limit = boxes.new_tensor([width0, height0])
    corners = torch.minimum(corners.clamp(min=0), limit)
    return torch.cat([corners.amin(1), corners.amax(1)], 1)
