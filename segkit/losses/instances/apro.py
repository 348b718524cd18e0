"""APro: masks learned from boxes by propagating their probabilities along the image, far and near.

Li et al., NeurIPS 2023, https://arxiv.org/abs/2310.10533. B images, L prediction sets, Q queries, K classes, D
channels, S grid of a level, n instances, H W image, h w masks.
"""

from collections.abc import Sequence
from typing import Annotated

import torch
from torch import Tensor

from segkit.constraints.named import NonNegativeFloat, OneOf, OptionalRounds, PositiveFloat, PositiveInt, Rounds
from segkit.losses.base import OBJECTS_VARY, Loss
from segkit.losses.instances.box2mask import gather_matched, match_boxes
from segkit.losses.instances.box_level_set import GridRule, PositiveMasks, positive_masks
from segkit.losses.instances.warm_up import WarmUp
from segkit.ops.averaging import full_precision, zero_of
from segkit.ops.instances.box_projection import box_projection
from segkit.ops.instances.color_windows import color_windows, spread_in_boxes
from segkit.ops.instances.grid_assignment import RANGES
from segkit.ops.instances.level_set import box_areas
from segkit.ops.instances.minimax_filter import minimax_filter, tree_edges
from segkit.ops.instances.query_losses import query_class_loss
from segkit.ops.resizing import resize
from segkit.registry import LOSSES

Window = Annotated[int, OneOf((1, 3, 5, 7, 9))]
"""Side of a window that has a middle."""


@torch.no_grad()
def along_trees(masks: Tensor, image: Tensor, counts: Sequence[int], *, zeta_image: float, zeta_mask: float) -> Tensor:
    """Propagates masks along the tree of their image: by the image's colors, then by the masks so found.

    Eq. 4 and 5 of the paper, twice (section 3.2). Every mask is its own guide the second time, on the same tree.

    Args:
        masks: float [n,h,w] probabilities.
        image: float [B,3,h,w], normalized.
        counts: the number of instances of each image, n in all.
        zeta_image: zeta of minimax_filter for the image.
        zeta_mask: the same for the masks.

    Returns:
        float32 [n,h,w], without gradient.
    """
    edges = tree_edges(image)
    low = minimax_filter(masks, image, edges, counts, zeta=zeta_image)
    of_masks = [ends for ends, count in zip(edges, counts) for _ in range(count)]
    return minimax_filter(low, low.unsqueeze(1), of_masks, [1] * len(low), zeta=zeta_mask)


def distances(masks: Tensor, target: Tensor, boxes: Tensor) -> Tensor:
    """Sums |mask - target| over the pixels of each box, float32 [n]; all float [n,h,w]."""
    return ((masks - target).abs() * boxes).sum((1, 2))


@LOSSES.register
class APro(Loss):
    """APro loss: focal loss of classes, box projection, and distances of masks to their propagation, far and near.

    focal(categories) + mean over positives of projection P + far + near. Far is the mean distance, in the box, of a
    mask and its propagation along the tree of its image (along_trees); near that to 20 rounds in windows inside of the
    box (spread_in_boxes). Eq. 8 of the paper; in the place of BoxLevelSet for a SOLO head, which needs no level
    features (level_features=0).

    Args:
        projection: weight of the box projection.
        far: weight of the propagation along trees.
        near: weight of the propagation in windows.
        zeta_image: color difference at which the affinity along the tree falls to exp(-1).
        zeta_mask: the same for the difference of propagated masks, the guide of the second propagation.
        zeta_near: the same for the colors of a window.
        kernel: side of the window in pixels of the mask.
        rounds: of the propagation in windows.
        projection_steps: first steps that train with the projection alone.
        ranges: smallest and largest root of a box's area in pixels, for each level.
        strides: of each level's masks.
        sigma: share of a box, around its centre, whose cells are positive.
    """

    supervision = "boxes"
    row = dict(on=["categories", "kernels", "mask_features", "image"], target=["boxes", "labels", "masks"], at="native")
    no_compile = OBJECTS_VARY

    def __init__(
        self,
        projection: NonNegativeFloat = 3.0,
        far: NonNegativeFloat = 2.0,
        near: NonNegativeFloat = 1.0,
        zeta_image: PositiveFloat = 0.01,
        zeta_mask: PositiveFloat = 0.07,
        zeta_near: PositiveFloat = 0.15,
        kernel: Window = 5,
        rounds: Rounds = 20,
        projection_steps: OptionalRounds = 0,
        ranges: Sequence[tuple[float, float]] = RANGES,
        strides: Sequence[PositiveInt] = (4, 4, 8, 16, 16),
        sigma: PositiveFloat = 0.2,
    ):
        super().__init__()
        self.projection, self.far, self.near = projection, far, near
        self.zeta_image, self.zeta_mask, self.zeta_near = zeta_image, zeta_mask, zeta_near
        self.kernel, self.rounds = kernel, rounds
        self.rule = GridRule(tuple(ranges), tuple(strides), sigma)
        self.warm_up = WarmUp(projection_steps, is_linear=False)

    def forward(
        self,
        categories: list[Tensor],
        kernels: list[Tensor],
        mask_features: Tensor,
        image: Tensor,
        boxes: list[Tensor],
        labels: list[Tensor],
        masks: list[Tensor],
    ) -> dict[str, Tensor]:
        """Computes the loss.

        Args:
            categories: logits of the classes, float [B,K,S,S] per level.
            kernels: float [B,D,S,S] per level.
            mask_features: float [B,D,H/4,W/4].
            image: float [B,3,H,W], normalized.
            boxes: B of float [n,4].
            labels: B of int64 [n].
            masks: B of uint8 [n,H,W], boxes as masks.

        Returns:
            float32 [] each: category, projection, far, near; all but the first are 0 with a graph where there is no
            positive.
        """
        size = (image.shape[2], image.shape[3])
        category, of_sizes = positive_masks(
            categories, kernels, mask_features, boxes, labels, masks, size=size, rule=self.rule
        )
        number = sum(len(positives.masks) for positives in of_sizes)
        terms = {"category": category / (number + 1)}
        if not number:
            nothing = zero_of(mask_features, *kernels)
            return terms | {"projection": nothing, "far": nothing, "near": nothing}
        projections = [box_projection(positives.masks, positives.boxes) for positives in of_sizes]
        far = [self.far_distances(positives, image) for positives in of_sizes]
        near = [self.near_distances(positives, image) for positives in of_sizes]
        factor = self.warm_up()
        return terms | {
            "projection": self.projection * torch.cat(projections).mean(),
            "far": self.far * torch.cat(far).mean() * factor,
            "near": self.near * torch.cat(near).mean() * factor,
        }

    def far_distances(self, positives: PositiveMasks, image: Tensor) -> Tensor:
        """Computes the mean distance in each box to the propagation along trees, float32 [n].

        Args:
            positives: masks of one size.
            image: float [B,3,H,W], normalized.
        """
        masks, boxes, counts, _ = positives
        small = resize(full_precision(image), size=masks.shape[1:])
        target = along_trees(masks, small, counts, zeta_image=self.zeta_image, zeta_mask=self.zeta_mask)
        return distances(masks, target, boxes) / box_areas(boxes)

    def near_distances(self, positives: PositiveMasks, image: Tensor) -> Tensor:
        """Computes the mean distance in each box to the propagation in windows; as far_distances."""
        masks, boxes, counts, _ = positives
        small = resize(full_precision(image), size=masks.shape[1:])
        windows = color_windows(small, kernel=self.kernel, scale=self.zeta_near**2)
        target = spread_in_boxes(masks, boxes, windows, counts, rounds=self.rounds)
        return distances(masks, target, boxes) / box_areas(boxes)


@LOSSES.register
class QueryAPro(Loss):
    """APro loss of queries: cross entropy of queries; box projection and distances to propagations of matched masks.

    For each prediction set: matching by classes and boxes, cross entropy of all queries, the mean box projection of the
    matched ones, and the distances of APro, each summed over all matched boxes of the batch and divided by their area.
    The sets are added up. In the place of Box2Mask for a Mask2Former head, which needs no level features
    (level_features=0).

    Args:
        category: weight of the cross entropy.
        no_object: class weight of queries without an object.
        projection: weight of the box projection.
        far: weight of the propagation along trees.
        near: weight of the propagation in windows.
        zeta_image, zeta_mask, zeta_near, kernel, rounds: as of APro.
        side: of the square maps on which trees are built, in pixels. The masks themselves are compared at this size,
            resized back.
        class_cost: weight of the classes in the matching.
        box_cost: weight of the boxes in the matching.
        projection_steps: first steps that train with the projection alone.
    """

    supervision = "boxes"
    row = dict(on=["class_logits", "mask_logits", "image"], target=["labels", "masks"], at="native")
    no_compile = OBJECTS_VARY

    def __init__(
        self,
        category: NonNegativeFloat = 2.0,
        no_object: NonNegativeFloat = 0.1,
        projection: NonNegativeFloat = 5.0,
        far: NonNegativeFloat = 1.0,
        near: NonNegativeFloat = 1.0,
        zeta_image: PositiveFloat = 0.03,
        zeta_mask: PositiveFloat = 0.03,
        zeta_near: PositiveFloat = 0.15,
        kernel: Window = 5,
        rounds: Rounds = 20,
        side: PositiveInt = 96,
        class_cost: NonNegativeFloat = 2.0,
        box_cost: NonNegativeFloat = 5.0,
        projection_steps: OptionalRounds = 0,
    ):
        super().__init__()
        self.category, self.no_object, self.projection = category, no_object, projection
        self.far, self.near = far, near
        self.zeta_image, self.zeta_mask, self.zeta_near = zeta_image, zeta_mask, zeta_near
        self.kernel, self.rounds, self.side = kernel, rounds, side
        self.class_cost, self.box_cost = class_cost, box_cost
        self.warm_up = WarmUp(projection_steps, is_linear=False)

    def forward(
        self,
        class_logits: Sequence[Tensor],
        mask_logits: Sequence[Tensor],
        image: Tensor,
        labels: list[Tensor],
        masks: list[Tensor],
    ) -> dict[str, Tensor]:
        """Computes the loss.

        Args:
            class_logits: L of float [B,Q,K+1], the last class is "no object".
            mask_logits: L of float [B,Q,h,w].
            image: float [B,3,H,W], normalized.
            labels: B of int64 [n].
            masks: B of uint8 [n,H,W], boxes as masks.

        Returns:
            float32 [] each: category, projection, far, near; all but the first are 0 with a graph where nothing is
            matched.
        """
        matches = match_boxes(
            class_logits, mask_logits, labels, masks, class_cost=self.class_cost, box_cost=self.box_cost
        )
        category = [
            query_class_loss(logits, pairs, labels, self.no_object) for logits, pairs in zip(class_logits, matches)
        ]
        terms = {"category": self.category * torch.stack(category).sum()}
        matched = gather_matched(mask_logits, masks, matches)
        if not len(matched.masks):
            nothing = zero_of(*mask_logits)
            return terms | {"projection": nothing, "far": nothing, "near": nothing}
        projection = box_projection(matched.masks, matched.boxes)
        far, near = self.sums(matched.masks, matched.boxes, image, matched.counts)
        # row 0 counts, then come the sums of each set
        rows = torch.stack([torch.ones_like(projection), matched.boxes.sum((1, 2)), projection, far, near])
        number, area, *sums = rows.new_zeros(len(rows), matched.num_sets).index_add(1, matched.sets, rows)
        area = torch.where(area > 0, area, 1.0)
        factor = self.warm_up()
        return terms | {
            "projection": self.projection * (sums[0] / number.clamp_min(1)).sum(),
            "far": self.far * (sums[1] / area).sum() * factor,
            "near": self.near * (sums[2] / area).sum() * factor,
        }

    def sums(self, masks: Tensor, boxes: Tensor, image: Tensor, counts: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Sums the distances of masks to their propagations over their boxes.

        Args:
            masks: float [n,h,w] probabilities.
            boxes: float [n,h,w] box masks.
            image: float [B,3,H,W], normalized.
            counts: the number of masks of each image, n in all.

        Returns:
            The sums of the propagation along trees and of that in windows, float32 [n] each.
        """
        size, side = masks.shape[1:], (self.side, self.side)
        small = resize(full_precision(image), size=size)
        coarse = resize(masks, size=side)
        target = along_trees(
            coarse, resize(small, size=side), counts, zeta_image=self.zeta_image, zeta_mask=self.zeta_mask
        )
        far = distances(resize(coarse, size=size), resize(target, size=size), boxes)
        windows = color_windows(small, kernel=self.kernel, scale=self.zeta_near**2)
        near = distances(masks, spread_in_boxes(masks, boxes, windows, counts, rounds=self.rounds), boxes)
        return far, near
