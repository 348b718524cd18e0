"""Masks learned from labelled points beside boxes.

Cheng, Parkhi and Kirillov, PointSup, CVPR 2022, https://arxiv.org/abs/2104.06404. B images, L prediction sets, Q
queries, K classes, D channels, S grid of a level, n objects, P points of an object, m masks, H W image, h w masks.
"""

from collections.abc import Sequence
from typing import Annotated

import torch
from torch import Tensor

from segkit.constraints.named import NonNegativeFloat, OneOf, PositiveFloat
from segkit.losses.base import OBJECTS_VARY, Loss
from segkit.ops.averaging import full_precision, zero_of
from segkit.ops.instances.cell_losses import focal_of_cells
from segkit.ops.instances.cell_masks import cell_masks
from segkit.ops.instances.grid_assignment import RANGES, assign_cells, object_shapes
from segkit.ops.instances.matching import class_costs, hungarian
from segkit.ops.instances.point_masks import at_places, labelled_costs, point_entropy
from segkit.ops.instances.query_losses import query_class_loss
from segkit.registry import LOSSES

Average = Annotated[str, OneOf(("valid", "all"))]
"""What the sum over points is divided by: those that are used, or all, as published."""


def mean_entropy(
    logits: Sequence[Tensor],
    objects: Sequence[Tensor],
    points: Sequence[Tensor],
    labels: Sequence[Tensor],
    *,
    size: tuple[int, int],
    average: str,
) -> Tensor:
    """Computes the mean cross entropy of masks at the points of their objects.

    Args:
        logits: B of float [m,h,w], masks of the whole image.
        objects: B of int64 [m], the object of each mask.
        points: B of float [n,P,2] x, y in pixels.
        labels: B of [n,P], 1 on the object, 0 beside it, -1 not used.
        size: (H, W) that the masks stand for.
        average: "valid" divides by the number of used points, "all" by that of all.

    Returns:
        float32 [], 0 with a graph where there is no point.
    """
    scale = points[0].new_tensor([size[1], size[0]])
    total, number = [], []
    for maps, index, places, known in zip(logits, objects, points, labels):
        index = index.to(places.device, non_blocking=True)
        entropy, used = point_entropy(at_places(full_precision(maps), places[index] / scale), known[index])
        total.append(entropy.sum())
        number.append((used if average == "valid" else torch.ones_like(used)).sum())
    return torch.stack(total).sum() / torch.stack(number).sum().clamp_min(1)


@LOSSES.register
class MaskPoints(Loss):
    """PointSup loss: binary cross entropy of masks at labelled points of their objects.

    Section 3.2 of the paper, on masks of the whole image instead of masks in boxes: the logit of a point is sampled
    bilinearly. For heads that return masks of sampled locations, beside rows that learn classes and boxes (CondInst:
    FCOS, and BoxInst for boxes and points). Points come from train.dataset.points=True. The paper's numbers are of
    heads in boxes; none are published for this loss on whole images.

    Args:
        average: "valid" divides by the number of points that are used, "all" by that of all points, those outside of
            the image included, as the published code does.
    """

    row = dict(on=["mask_logits", "objects", "image"], target=["points", "point_labels"], at="native")
    no_compile = OBJECTS_VARY

    def __init__(self, average: Average = "valid"):
        super().__init__()
        self.average = average

    def forward(
        self, mask_logits: Tensor, objects: list[Tensor], image: Tensor, points: list[Tensor], labels: list[Tensor]
    ) -> Tensor:
        """Computes the loss.

        Args:
            mask_logits: float [m,h,w], in the order of the images.
            objects: B of int64, for each mask of an image the index of the object it must become.
            image: float [B,3,H,W]; only its size is read.
            points: B of float [n,P,2] x, y in pixels.
            labels: B of int8 [n,P], 1 on the object, 0 beside it, -1 not used.

        Returns:
            float32 [], 0 with a graph where there is no point.
        """
        by_image = mask_logits.split([len(index) for index in objects])
        size = (image.shape[2], image.shape[3])
        return mean_entropy(by_image, objects, points, labels, size=size, average=self.average)


@LOSSES.register
class CellPoints(Loss):
    """PointSup loss of a SOLO head: focal loss of classes, and cross entropy of the positives' masks at points.

    As MaskPoints, for SOLOv2Head without level features (level_features=0). Positive cells are those of SOLOv2 with the
    boxes as masks (transform BoxMasks).

    Args:
        points: weight of the cross entropy at points.
        average: as of MaskPoints.
        ranges: smallest and largest root of a box's area in pixels, for each level.
        sigma: share of a box, around its centre, whose cells are positive.
    """

    supervision = "boxes"
    row = dict(
        on=["categories", "kernels", "mask_features", "image"],
        target=["boxes", "labels", "masks", "points", "point_labels"],
        at="native",
    )
    no_compile = OBJECTS_VARY

    def __init__(
        self,
        points: NonNegativeFloat = 3.0,
        average: Average = "valid",
        ranges: Sequence[tuple[float, float]] = RANGES,
        sigma: PositiveFloat = 0.2,
    ):
        super().__init__()
        self.points, self.average, self.ranges, self.sigma = points, average, tuple(ranges), sigma

    def forward(
        self,
        categories: list[Tensor],
        kernels: list[Tensor],
        mask_features: Tensor,
        image: Tensor,
        boxes: list[Tensor],
        labels: list[Tensor],
        masks: list[Tensor],
        points: list[Tensor],
        point_labels: list[Tensor],
    ) -> dict[str, Tensor]:
        """Computes the loss.

        Args:
            categories: logits of the classes, float [B,K,S,S] per level.
            kernels: float [B,D,S,S] per level.
            mask_features: float [B,D,H/4,W/4].
            image: float [B,3,H,W]; only its size is read.
            boxes: B of float [n,4].
            labels: B of int64 [n].
            masks: B of uint8 [n,H,W], boxes as masks.
            points: B of float [n,P,2] x, y in pixels.
            point_labels: B of int8 [n,P].

        Returns:
            float32 [] each: category, points; the second is 0 with a graph where there is no positive.
        """
        shapes = object_shapes(boxes, masks)
        size = (image.shape[2], image.shape[3])
        height, width = mask_features.shape[2:]
        focal, logits, objects = [], [], []
        for level, kernel, bounds in zip(categories, kernels, self.ranges):
            grid = level.shape[2]
            cells = [assign_cells(shape, size, grid=grid, bounds=bounds, sigma=self.sigma) for shape in shapes]
            focal.append(focal_of_cells(level, cells, labels))
            counts = [len(of_image.cells) for of_image in cells]
            if sum(counts):
                logits += cell_masks(kernel, mask_features, cells, size=(height, width)).split(counts)
                objects += [of_image.objects for of_image in cells]
        number = sum(len(maps) for maps in logits)
        category = torch.stack(focal).sum() / (number + 1)
        if not number:
            return {"category": category, "points": zero_of(mask_features, *kernels)}
        levels = len(logits) // len(points)
        entropy = mean_entropy(logits, objects, points * levels, point_labels * levels, size=size, average=self.average)
        return {"category": category, "points": self.points * entropy}


@LOSSES.register
class QueryPoints(Loss):
    """PointSup loss of queries: cross entropy of classes, cross entropy and Dice of matched masks at points.

    As Mask2FormerMasks, but masks are known at the objects' own points alone, in the matching too. For a Mask2Former
    head without level features (level_features=0).

    Args:
        category: weight of the classes, as loss and as cost.
        mask: weight of the cross entropy at points, as loss and as cost.
        dice: weight of the Dice over points, as loss and as cost.
        no_object: class weight of queries without an object.
    """

    row = dict(on=["class_logits", "mask_logits", "image"], target=["labels", "points", "point_labels"], at="native")
    no_compile = OBJECTS_VARY

    def __init__(
        self,
        category: NonNegativeFloat = 2.0,
        mask: NonNegativeFloat = 5.0,
        dice: NonNegativeFloat = 5.0,
        no_object: NonNegativeFloat = 0.1,
    ):
        super().__init__()
        self.category, self.mask, self.dice, self.no_object = category, mask, dice, no_object

    def forward(
        self,
        class_logits: Sequence[Tensor],
        mask_logits: Sequence[Tensor],
        image: Tensor,
        labels: list[Tensor],
        points: list[Tensor],
        point_labels: list[Tensor],
    ) -> dict[str, Tensor]:
        """Computes the loss.

        Args:
            class_logits: L of float [B,Q,K+1], the last class is "no object".
            mask_logits: L of float [B,Q,h,w].
            image: float [B,3,H,W]; only its size is read.
            labels: B of int64 [n].
            points: B of float [n,P,2] x, y in pixels.
            point_labels: B of int8 [n,P], 1 on the object, 0 beside it, -1 not used.

        Returns:
            float32 [] each: category, mask, dice; the last two are 0 with a graph where nothing is matched.
        """
        scale = points[0].new_tensor([image.shape[3], image.shape[2]])
        places = [of_image / scale for of_image in points]
        entropies, overlaps, costs = [], [], []
        for classes, maps in zip(class_logits, mask_logits):
            for i, known in enumerate(point_labels):
                found = at_places(full_precision(maps[i]), places[i].reshape(1, -1, 2))
                entropy, overlap = labelled_costs(found.unflatten(1, known.shape), known)
                entropies.append(entropy)
                overlaps.append(overlap)
                cost = self.category * class_costs(classes[i], labels[i]) + self.mask * entropy + self.dice * overlap
                costs.append(cost.detach())
        pairs = hungarian(costs)
        images = len(labels)
        category = [
            query_class_loss(logits, pairs[k * images : (k + 1) * images], labels, self.no_object)
            for k, logits in enumerate(class_logits)
        ]
        number = max(sum(len(queries) for queries, _ in pairs[:images]), 1)
        # the costs of the matched pairs are their losses
        mask = torch.stack([cost[queries, objects].sum() for cost, (queries, objects) in zip(entropies, pairs)]).sum()
        dice = torch.stack([cost[queries, objects].sum() for cost, (queries, objects) in zip(overlaps, pairs)]).sum()
        return {
            "category": self.category * torch.stack(category).sum(),
            "mask": self.mask * mask / number,
            "dice": self.dice * dice / number,
        }
