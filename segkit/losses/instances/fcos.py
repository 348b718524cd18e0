"""FCOS: classes, boxes and centerness of locations.

Tian et al., ICCV 2019, https://arxiv.org/abs/1904.01355. B images, K classes, h w a map, N locations of all maps, n
objects.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from segkit.constraints.named import PositiveFloat, PositiveInt
from segkit.losses.base import OBJECTS_VARY, Loss
from segkit.ops.instances.fcos import STRIDES, assign_places, centerness, flatten_levels, places_of
from segkit.ops.instances.focal import sigmoid_focal_sum
from segkit.registry import LOSSES


@LOSSES.register
class FCOS(Loss):
    """FCOS loss: focal loss of classes, GIoU loss of boxes and binary cross entropy of centerness.

    Eq. 2 of the paper, with GIoU for IoU as in its extended version, TPAMI 2021. Classes and centerness are divided by
    the number of locations that are assigned to an object, at least 1; each box is weighted by its location's
    centerness.

    Args:
        strides: of the maps.
        radius: how far from an object's centre locations are assigned to it, in strides.
        plus_one: adds 1 to intersection and union of the IoU, in units of strides, as AdelaiDet does (BoxTeacher);
            small boxes then pull less.
    """

    row = dict(on=["categories", "distances", "centerness"], target=["boxes", "labels"], at="native")
    no_compile = OBJECTS_VARY

    def __init__(self, strides: Sequence[PositiveInt] = STRIDES, radius: PositiveFloat = 1.5, plus_one: bool = False):
        super().__init__()
        self.strides, self.radius, self.added = tuple(strides), radius, float(plus_one)

    def forward(
        self,
        categories: list[Tensor],
        distances: list[Tensor],
        centers: list[Tensor],
        boxes: list[Tensor],
        labels: list[Tensor],
    ) -> dict[str, Tensor]:
        """Computes the loss.

        Args:
            categories: logits of the classes, float [B,K,h,w] per map.
            distances: to the four sides of the box in strides, float [B,4,h,w] per map.
            centers: logits of the centerness, float [B,1,h,w] per map.
            boxes: B of float [n,4].
            labels: B of int64 [n].

        Returns:
            float32 [] each: category, box, centerness; the last two are 0 with a graph where there is no object.
        """
        sizes = [(level.shape[2], level.shape[3]) for level in categories]
        classes, found, central = flatten_levels(categories), flatten_levels(distances), flatten_levels(centers)
        locations = places_of(sizes, self.strides, classes.device)
        assigned = [assign_places(locations, corners.to(classes.device), radius=self.radius) for corners in boxes]
        targets = [_labels(image.objects, known, classes.shape[2]) for image, known in zip(assigned, labels)]
        inside = torch.stack([image.objects >= 0 for image in assigned])
        true = torch.stack([image.distances / locations.strides.unsqueeze(1) for image in assigned])[inside]
        number = max(len(true), 1)
        weights = centerness(true)
        overlap = (giou_loss(found[inside], true, added=self.added) * weights).sum() / weights.sum().clamp_min(1e-6)
        of_centers = F.binary_cross_entropy_with_logits(central[..., 0][inside], weights, reduction="sum")
        category = sigmoid_focal_sum(classes.transpose(1, 2), torch.stack(targets))
        return {"category": category / number, "box": overlap, "centerness": of_centers / number}


def giou_loss(found: Tensor, true: Tensor, eps: float = 1e-6, *, added: float = 0.0) -> Tensor:
    """Returns 1 - generalised IoU (Rezatofighi et al., CVPR 2019) of pairs of boxes around the same location.

    Args:
        found: distances of the location to the four sides of the predicted box, float [n,4].
        true: the same of the true box, float [n,4].
        eps: least area of union and hull.
        added: to both areas of the IoU alone, in the units of the distances squared.

    Returns:
        float [n].
    """
    shared, outer = torch.minimum(found, true), torch.maximum(found, true)
    inter, hull = _area(shared), _area(outer)
    union = (_area(found) + _area(true) - inter).clamp_min(eps)
    return 1 - (inter + added) / (union + added) + (hull - union) / hull.clamp_min(eps)


def _area(distances: Tensor) -> Tensor:
    return (distances[:, 0] + distances[:, 2]) * (distances[:, 1] + distances[:, 3])


def _labels(objects: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    """Classes of locations, int64 [N], num_classes for none; objects: int64 [N], -1 for none."""
    if not len(labels):
        return torch.full_like(objects, num_classes)
    return torch.where(objects < 0, num_classes, labels.to(objects.device)[objects.clamp_min(0)])
