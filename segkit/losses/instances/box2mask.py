"""Box2Mask-T: masks of queries learned from boxes by level sets.

Li et al., TPAMI 2024, https://arxiv.org/abs/2212.01579. B images, L prediction sets (before the first decoder layer and
after each), Q queries, K classes, n instances, H W image, h w masks.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from segkit.constraints.named import NonNegativeFloat, OptionalRounds, PositiveInt
from segkit.losses.base import OBJECTS_VARY, Loss
from segkit.losses.instances.box_level_set import level_set
from segkit.losses.instances.warm_up import WarmUp
from segkit.ops.averaging import full_precision, zero_of
from segkit.ops.instances.box_projection import box_projection
from segkit.ops.instances.local_consistency import local_affinity, local_consistency
from segkit.ops.instances.matching import box_costs, class_costs, hungarian, projected_boxes
from segkit.ops.instances.query_losses import query_class_loss
from segkit.ops.instances.structure_maps import image_index, structure_maps
from segkit.ops.resizing import resize, resize_masks
from segkit.registry import LOSSES


class Matched(NamedTuple):
    """Matched queries of all prediction sets, in the order of images, then sets, then queries.

    Attributes:
        masks: float [n,h,w], probabilities.
        boxes: float [n,h,w], box masks with soft edges.
        sets: int64 [n], the set of each.
        counts: number of matched queries of each image.
        num_sets: L.
    """

    masks: Tensor
    boxes: Tensor
    sets: Tensor
    counts: list[int]
    num_sets: int


@LOSSES.register
class Box2Mask(Loss):
    """Box2Mask loss: cross entropy of queries; box projection, level sets and local consistency of matched masks.

    For each prediction set: matching, then cross entropy of all queries and, of the matched ones, the mean of box
    projection, level-set energies on the image and on filtered masks, and local consistency (section 3 of the paper).
    The sets are added up. For a Mask2Former head with level features.

    Args:
        category: weight of the cross entropy.
        no_object: class weight of queries without an object.
        projection: weight of the box projection.
        image: weight of the energy on the image.
        feature: weight of the energy on the filtered masks.
        consistency: weight of the local consistency.
        length: weight of the contour's length in every energy (the authors' code has none).
        iterations: rounds of local consistency; weights published before April 2023 were trained with 1.
        side: of the square maps on which trees and local consistency are computed, in pixels.
        class_cost: weight of the classes in the matching.
        box_cost: weight of the boxes in the matching.
        projection_steps: first steps that train with the projection alone.
    """

    supervision = "boxes"
    row = dict(
        on=["class_logits", "mask_logits", "level_features", "image"],
        target=["boxes", "labels", "masks"],
        at="native",
    )
    no_compile = OBJECTS_VARY

    def __init__(
        self,
        category: NonNegativeFloat = 2.0,
        no_object: NonNegativeFloat = 0.1,
        projection: NonNegativeFloat = 5.0,
        image: NonNegativeFloat = 0.05,
        feature: NonNegativeFloat = 5.0,
        consistency: NonNegativeFloat = 0.2,
        length: NonNegativeFloat = 0.0,
        iterations: OptionalRounds = 10,
        side: PositiveInt = 96,
        class_cost: NonNegativeFloat = 2.0,
        box_cost: NonNegativeFloat = 5.0,
        projection_steps: OptionalRounds = 0,
    ):
        super().__init__()
        self.category, self.no_object, self.projection = category, no_object, projection
        self.image, self.feature, self.consistency, self.length = image, feature, consistency, length
        self.iterations, self.side = iterations, side
        self.class_cost, self.box_cost = class_cost, box_cost
        self.warm_up = WarmUp(projection_steps, is_linear=False)

    def forward(
        self,
        class_logits: Sequence[Tensor],
        mask_logits: Sequence[Tensor],
        level_features: Tensor,
        image: Tensor,
        boxes: list[Tensor],
        labels: list[Tensor],
        masks: list[Tensor],
    ) -> dict[str, Tensor]:
        """Computes the loss.

        Args:
            class_logits: L of float [B,Q,K+1], the last class is "no object".
            mask_logits: L of float [B,Q,h,w].
            level_features: float [B,C,h,w].
            image: float [B,3,H,W], normalized.
            boxes: B of float [n,4], not read (the masks are the boxes).
            labels: B of int64 [n].
            masks: B of uint8 [n,H,W], boxes as masks.

        Returns:
            float32 [] each: category, projection, level_set; the last two are 0 with a graph where nothing is matched.
        """
        matches = self.match(class_logits, mask_logits, labels, masks)
        category = [
            query_class_loss(logits, pairs, labels, self.no_object) for logits, pairs in zip(class_logits, matches)
        ]
        matched = gather_matched(mask_logits, masks, matches)
        projection = self.projection * box_projection(matched.masks, matched.boxes)
        height, width = matched.masks.shape[1:]
        image = resize(full_precision(image), size=(height, width))
        energies = self.energies(matched, image, level_features)
        numbers = torch.zeros(len(matches), device=image.device)
        shares = 1 / numbers.index_add(0, matched.sets, torch.ones_like(energies))[matched.sets]  # means, set by set
        level_set_term = (energies * shares).sum() + self.movement(matched, image)
        nothing = zero_of(level_features) if not len(matched.masks) else 0
        return {
            "category": self.category * torch.stack(category).sum(),
            "projection": (projection * shares).sum(),
            "level_set": level_set_term * self.warm_up() + nothing,
        }

    def match(
        self, class_logits: Sequence[Tensor], mask_logits: Sequence[Tensor], labels: list[Tensor], masks: list[Tensor]
    ) -> list[list[tuple[Tensor, Tensor]]]:
        """Matches queries and objects, see match_boxes."""
        costs = dict(class_cost=self.class_cost, box_cost=self.box_cost)
        return match_boxes(class_logits, mask_logits, labels, masks, **costs)

    def energies(self, matched: Matched, image: Tensor, features: Tensor) -> Tensor:
        """Computes the weighted level-set energies of matched masks.

        Args:
            matched: the matched queries.
            image: float [B,3,h,w].
            features: the level features.

        Returns:
            float32 [n].
        """
        index = image_index(matched.counts, image.device)
        energy = self.image * level_set(matched.masks, matched.boxes, image, index=index, length=self.length)
        if not self.feature:
            return energy
        side = (self.side, self.side)
        masks, small_image, features = (resize(full_precision(m), size=side) for m in (matched.masks, image, features))
        height, width = image.shape[2:]
        target = resize(structure_maps(masks, small_image, features, matched.counts), size=(height, width))
        return energy + self.feature * level_set(matched.masks, matched.boxes, target, length=self.length)

    def movement(self, matched: Matched, image: Tensor) -> Tensor:
        """Computes the weighted local consistency: each set's movement over the area of its boxes, added up.

        Args:
            matched: the matched queries.
            image: float [B,3,h,w].

        Returns:
            float32 [].
        """
        if not self.consistency or not len(matched.masks):
            return zero_of(matched.masks)
        side = (self.side, self.side)
        small, boxes, image = (resize(maps, size=side) for maps in (matched.masks, matched.boxes, image))
        terms = local_consistency(
            small,
            boxes,
            local_affinity(image),
            matched.counts,
            matched.sets,
            number=matched.num_sets,
            iterations=self.iterations,
        )
        return self.consistency * terms.sum()


@torch.no_grad()
def match_boxes(
    class_logits: Sequence[Tensor],
    mask_logits: Sequence[Tensor],
    labels: list[Tensor],
    masks: list[Tensor],
    *,
    class_cost: float,
    box_cost: float,
) -> list[list[tuple[Tensor, Tensor]]]:
    """Matches queries and objects by classes and boxes.

    Args:
        class_logits, mask_logits, labels, masks: as of Box2Mask.forward.
        class_cost: weight of the classes.
        box_cost: weight of the boxes.

    Returns:
        For each set and image the matched (queries, objects), int64 on the host.
    """
    boxes = [projected_boxes(of_image) for of_image in masks]  # once for all sets
    costs = [
        class_cost * class_costs(classes[i], labels[i]) + box_cost * box_costs(maps[i], boxes[i])
        for classes, maps in zip(class_logits, mask_logits)
        for i in range(len(labels))
    ]
    pairs = hungarian(costs)
    return [pairs[i : i + len(labels)] for i in range(0, len(pairs), max(len(labels), 1))]


def gather_matched(
    mask_logits: Sequence[Tensor], masks: list[Tensor], matches: list[list[tuple[Tensor, Tensor]]]
) -> Matched:
    """Gathers the masks of matched queries of all sets; other masks are left out.

    Args:
        mask_logits: L of float [B,Q,h,w].
        masks: B of uint8 [n,H,W].
        matches: for each set and image (queries, objects).
    """
    height, width = mask_logits[0].shape[2:]
    device = mask_logits[0].device
    logits: list[Tensor] = []
    known: list[Tensor] = []
    sets: list[int] = []
    counts: list[int] = []
    for i, mask in enumerate(masks):
        small = resize_masks(mask, (height, width))
        for k, maps in enumerate(mask_logits):
            queries, objects = (index.to(device, non_blocking=True) for index in matches[k][i])
            logits.append(full_precision(maps[i][queries]))
            known.append(small[objects])
            sets += [k] * len(queries)
        counts.append(sum(len(of_set[i][0]) for of_set in matches))
    set_index = torch.tensor(sets, dtype=torch.int64).to(device, non_blocking=True)
    return Matched(torch.cat(logits).sigmoid(), torch.cat(known), set_index, counts, len(mask_logits))
