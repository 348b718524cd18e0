"""Mask losses and matching costs at sampled points.

Cheng et al., Mask2Former, CVPR 2022, section 3.3, https://arxiv.org/abs/2112.01527; points as in Kirillov et al.,
PointRend, CVPR 2020, section 3.3. Q queries, n objects, P points, h w map.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def at_places(maps: Tensor, places: Tensor) -> Tensor:
    """Samples each map bilinearly at points.

    Args:
        maps: float [n,h,w].
        places: float [n,P,2] or [1,P,2], x and y, 0 and 1 at the borders of the map; samples outside are 0.

    Returns:
        float [n,P].
    """
    if not len(maps):
        return maps.new_zeros(0, places.shape[1]) + maps.sum()
    grid = (2 * places - 1).expand(len(maps), -1, -1).unsqueeze(2)
    return F.grid_sample(maps.unsqueeze(1), grid, align_corners=False)[:, 0, :, 0]


def masks_at_places(masks: Tensor, rows: Tensor, places: Tensor) -> Tensor:
    """Samples some masks bilinearly at points, as `at_places` does, without a copy of the masks as float.

    Args:
        masks: uint8, bool or float [N,h,w].
        rows: int64 [n], which masks are sampled.
        places: float [n,P,2] or [1,P,2], see at_places.

    Returns:
        float [n,P] of the points' dtype.
    """
    if not len(rows):
        return places.new_zeros(0, places.shape[1])
    height, width = masks.shape[1:]
    x, y = places[..., 0] * width - 0.5, places[..., 1] * height - 0.5
    left, top = x.floor(), y.floor()
    values = places.new_zeros(len(rows), places.shape[1])
    for right_by in (0, 1):
        for down_by in (0, 1):
            column, row = left + right_by, top + down_by
            weight = (1 - (x - column).abs()) * (1 - (y - row).abs())
            weight = weight * ((column >= 0) & (column < width) & (row >= 0) & (row < height))
            column, row = column.long().clamp(0, width - 1), row.long().clamp(0, height - 1)
            values = values + weight * masks[rows[:, None], row, column]
    return values


def uncertain_places(
    logits: Tensor, points: int, generator: torch.Generator, *, oversample: float = 3.0, importance: float = 0.75
) -> Tensor:
    """Draws points of each map, most of them where the prediction is uncertain.

    Of oversample * points random points, the importance * points whose logit is nearest to 0 are taken; the others are
    drawn anywhere.

    Args:
        logits: float [n,h,w].
        points: number of points.
        generator: on the device of the logits.
        oversample: number of random points over `points`.
        importance: share of uncertain points.

    Returns:
        float [n,points,2], see at_places.
    """
    count, device = len(logits), logits.device
    places = torch.rand(count, int(oversample * points), 2, device=device, generator=generator)
    num_uncertain = int(importance * points)
    index = at_places(logits.detach(), places).abs().topk(num_uncertain, 1, largest=False).indices
    uncertain = places.gather(1, index.unsqueeze(2).expand(-1, -1, 2))
    others = torch.rand(count, points - num_uncertain, 2, device=device, generator=generator)
    return torch.cat([uncertain, others], 1)


def point_dice(probabilities: Tensor, target: Tensor, *, smooth: float = 1.0) -> Tensor:
    """Computes the Dice loss 1 - (2 ab + smooth) / (a + b + smooth) of each object.

    Args:
        probabilities, target: float [n,P] in 0..1.
        smooth: added to both terms of the fraction.

    Returns:
        float [n].
    """
    numerator = 2 * (probabilities * target).sum(1) + smooth
    return 1 - numerator / (probabilities.sum(1) + target.sum(1) + smooth)


def mask_costs(logits: Tensor, target: Tensor, *, smooth: float = 1.0) -> tuple[Tensor, Tensor]:
    """Computes the mask losses of every pair of a query and an object.

    Args:
        logits: float [Q,P].
        target: float [n,P] in 0..1.
        smooth: see point_dice.

    Returns:
        The binary cross entropy, its mean over points, and the Dice loss; float [Q,n] each.
    """
    with torch.autocast(logits.device.type, enabled=False):
        # -t log p - (1 - t) log(1 - p) = softplus(x) - t x
        entropy = (F.softplus(logits).sum(1, keepdim=True) - logits @ target.T) / max(logits.shape[1], 1)
        probabilities = logits.sigmoid()
        sums = probabilities.sum(1, keepdim=True) + target.sum(1)
        return entropy, 1 - (2 * (probabilities @ target.T) + smooth) / (sums + smooth)


def places_in_boxes(points: Tensor, boxes: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Expresses points by their boxes, for masks that are predicted in boxes (RoI heads).

    Args:
        points: float [n,P,2] x, y in pixels.
        boxes: float [n,4] x0, y0, x1, y1 in pixels.
        labels: [n,P], see point_entropy.

    Returns:
        Places float [n,P,2], 0 and 1 at the borders of the box, and the labels, -1 for points outside of it.
    """
    places = (points - boxes[:, None, :2]) / (boxes[:, None, 2:] - boxes[:, None, :2])
    is_inside = ((places >= 0) & (places <= 1)).all(2)
    return places, torch.where(is_inside, labels, -1)


def point_entropy(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Computes the binary cross entropy at labelled points.

    Cheng, Parkhi and Kirillov, PointSup, CVPR 2022, section 3.2, https://arxiv.org/abs/2104.06404.

    Args:
        logits: float [...] at points.
        labels: [...], 1 on the object, 0 beside it, -1 not used.

    Returns:
        The cross entropies, float of the same shape, 0 where a point is not used; and which points are used, bool.
    """
    used = labels >= 0
    entropy = F.binary_cross_entropy_with_logits(logits, labels.clamp_min(0).to(logits.dtype), reduction="none")
    return entropy * used, used


def labelled_costs(logits: Tensor, labels: Tensor, *, smooth: float = 1.0) -> tuple[Tensor, Tensor]:
    """Computes the mask losses of every pair of a query and an object at the object's own points.

    Args:
        logits: float [Q,n,P], of each query at the points of each object.
        labels: [n,P], see point_entropy.
        smooth: see point_dice.

    Returns:
        The binary cross entropy, its mean over used points, and the Dice loss over them; float [Q,n] each.
    """
    entropy, used = point_entropy(logits, labels.expand_as(logits))
    target = (labels == 1).to(logits.dtype)
    probabilities = logits.sigmoid() * used
    numerator = 2 * (probabilities * target).sum(2) + smooth
    dice = 1 - numerator / (probabilities.sum(2) + target.sum(1) + smooth)
    return entropy.sum(2) / used.sum(2).clamp_min(1), dice
