"""FCOS: boxes from the places inside of them. Tian et al., ICCV 2019, https://arxiv.org/abs/1904.01355. B images,
K classes, h w a map."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from segkit.losses.base import Loss
from segkit.ops.averaging import full_precision
from segkit.ops.instances.fcos import STRIDES, assign_places, centerness, places_of
from segkit.ops.instances.focal import sigmoid_focal_sum
from segkit.registry import LOSSES


@LOSSES.register
class FCOS(Loss):
    """focal(classes) + GIoU(boxes) + binary cross entropy(centerness), each over its own mean (eq. 2 of the paper; GIoU
    for IoU as in its extended version, TPAMI 2021).

    Classes and centerness are divided by the number of places that answer for an object, at least 1; a box counts by
    its place's centerness. A row: on=["categories", "distances", "centerness"], target=["boxes", "labels"],
    at="native". strides: of the maps; radius: how far from a centre places answer, in strides.
    """

    row = dict(on=["categories", "distances", "centerness"], target=["boxes", "labels"], at="native")

    def __init__(self, strides: Sequence[int] = STRIDES, radius: float = 1.5):
        super().__init__()
        self.strides, self.radius = tuple(strides), radius

    def forward(
        self,
        categories: list[Tensor],
        distances: list[Tensor],
        centers: list[Tensor],
        boxes: list[Tensor],
        labels: list[Tensor],
    ) -> dict[str, Tensor]:
        """categories: float [B,K,h,w] of each map, logits; distances: float [B,4,h,w] of each, in strides; centers:
        float [B,1,h,w] of each, logits; boxes: B of float [n,4]; labels: B of int64 [n] -> dict of float32 []:
        category, box, centerness; the last two are 0 with a graph without an object."""
        sizes = [tuple(level.shape[2:]) for level in categories]
        classes, found, central = (_flat(maps) for maps in (categories, distances, centers))
        places = places_of(sizes, self.strides, classes.device)
        assigned = [assign_places(places, corners.to(classes.device), radius=self.radius) for corners in boxes]
        targets = [_labels(one.objects, known, classes.shape[2]) for one, known in zip(assigned, labels)]
        inside = torch.stack([one.objects >= 0 for one in assigned])
        true = torch.stack([one.distances / places.strides.unsqueeze(1) for one in assigned])[inside]
        number = max(len(true), 1)
        weights = centerness(true)
        overlap = (giou_loss(found[inside], true) * weights).sum() / weights.sum().clamp_min(1e-6)
        of_centers = F.binary_cross_entropy_with_logits(central[..., 0][inside], weights, reduction="sum")
        category = sigmoid_focal_sum(classes.transpose(1, 2), torch.stack(targets))
        return {"category": category / number, "box": overlap, "centerness": of_centers / number}


def giou_loss(found: Tensor, true: Tensor, eps: float = 1e-6) -> Tensor:
    """found, true: float [n,4], distances of one place to the sides of two boxes around it -> float [n], 1 minus their
    generalised IoU (Rezatofighi et al., CVPR 2019)."""
    shared, outer = torch.minimum(found, true), torch.maximum(found, true)
    inter, hull, *areas = (_area(one) for one in (shared, outer, found, true))
    union = (sum(areas) - inter).clamp_min(eps)
    return 1 - inter / union + (hull - union) / hull.clamp_min(eps)


def _area(distances: Tensor) -> Tensor:
    return (distances[:, 0] + distances[:, 2]) * (distances[:, 1] + distances[:, 3])


def _labels(objects: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    """objects: int64 [N], -1 for none -> int64 [N] classes, num_classes for none."""
    if not len(labels):
        return torch.full_like(objects, num_classes)
    return torch.where(objects < 0, num_classes, labels.to(objects.device)[objects.clamp_min(0)])


def _flat(maps: list[Tensor]) -> Tensor:
    """float [B,C,h,w] -> float32 [B,N,C]."""
    return torch.cat([full_precision(x).flatten(2) for x in maps], 2).transpose(1, 2)
