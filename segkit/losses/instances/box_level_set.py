"""BoxLevelSet: masks learnt from boxes by level sets. Li et al., ECCV 2022, https://arxiv.org/abs/2207.09055.
B images, K classes, D channels, S grid of a level, n instances, H W image, h w masks of a level."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from segkit.losses.base import Loss
from segkit.losses.instances.warm_up import WarmUp
from segkit.ops.averaging import zero_of
from segkit.ops.instances.box_projection import box_projection
from segkit.ops.instances.cell_losses import box_targets, focal_of_cells
from segkit.ops.instances.cell_masks import cell_masks
from segkit.ops.instances.grid_assignment import RANGES, assign_cells, object_shapes
from segkit.ops.instances.level_set import box_areas, contour_length, region_energy
from segkit.ops.instances.local_consistency import local_affinity, local_consistency
from segkit.ops.instances.structure_maps import image_index, structure_maps
from segkit.ops.resizing import resize
from segkit.registry import LOSSES


class Instances(NamedTuple):
    """Positives of one level or of the matched queries, in the order of their images: masks float [n,h,w]
    probabilities; boxes float [n,h,w], box masks; counts: how many of them each of the B images has."""

    masks: Tensor
    boxes: Tensor
    counts: list[int]


def joined(parts: list[Instances]) -> Instances:
    """Instances of several levels with masks of one size -> all of them, in the order of their images."""
    if len(parts) == 1:
        return parts[0]
    maps = ([part.masks.split(part.counts) for part in parts], [part.boxes.split(part.counts) for part in parts])
    masks, boxes = (torch.cat([one for of_image in zip(*levels) for one in of_image]) for levels in maps)
    return Instances(masks, boxes, [sum(counts) for counts in zip(*(part.counts for part in parts))])


def level_set(
    masks: Tensor, boxes: Tensor, target: Tensor, *, index: Tensor | None = None, length: float = 0.0
) -> Tensor:
    """As region_energy -> float32 [n], energy plus `length` times the contour's length, per pixel of the box."""
    energy = region_energy(masks, boxes, target, index=index)
    if length:
        energy = energy + length * contour_length(masks, boxes)
    return energy / box_areas(boxes)


@LOSSES.register
class BoxLevelSet(Loss):
    """focal(categories) + mean over positives of projection P + image E(I) + feature E(filtered masks), with P the box
    projection and E the level-set energy on the normalized image I and on the mask filtered along the trees of the
    image and of the level features (eq. 9 to 11 of the paper).

    A SOLO head's row: on=["categories", "kernels", "mask_features", "level_features", "image"], target=["boxes",
    "labels", "masks"], at="native". projection, image, feature: weights; length: of the contour in every E (the
    authors' code has 1e-5 since 2023, their paper's models 0); consistency: weight of the local consistency term, 0.2
    for Box2Mask-C, over `iterations` rounds; ranges, sigma: of the assignment of cells; strides: of each level's masks;
    projection_steps: steps with the projection alone, for trainings whose level set does not fall.
    """

    row = dict(
        on=["categories", "kernels", "mask_features", "level_features", "image"],
        target=["boxes", "labels", "masks"],
        at="native",
    )

    supervision = "boxes"

    def __init__(
        self,
        projection: float = 3.0,
        image: float = 0.05,
        feature: float = 5.0,
        length: float = 0.0,
        consistency: float = 0.0,
        iterations: int = 10,
        projection_steps: int = 0,
        ranges: Sequence[tuple[float, float]] = RANGES,
        strides: Sequence[int] = (4, 4, 8, 16, 16),
        sigma: float = 0.2,
    ):
        super().__init__()
        self.projection, self.image, self.feature, self.length = projection, image, feature, length
        self.consistency, self.iterations = consistency, iterations
        self.ranges, self.strides, self.sigma = tuple(ranges), tuple(strides), sigma
        self.warm_up = WarmUp(projection_steps, is_linear=False)

    def forward(
        self,
        categories: list[Tensor],
        kernels: list[Tensor],
        mask_features: Tensor,
        level_features: Tensor,
        image: Tensor,
        boxes: list[Tensor],
        labels: list[Tensor],
        masks: list[Tensor],
    ) -> dict[str, Tensor]:
        """categories: float [B,K,S,S] of each level, logits; kernels: float [B,D,S,S] of each; mask_features: float
        [B,D,H/4,W/4]; level_features: float [B,5,H/4,W/4]; image: float [B,3,H,W], normalized; boxes: B of float [n,4];
        labels: B of int64 [n]; masks: B of uint8 [n,H,W], boxes as masks -> dict of float32 []: category, projection,
        level_set; without a positive the last two are 0 with a graph."""
        shapes, size = object_shapes(boxes, masks), tuple(image.shape[2:])
        levels: dict[int, list[Instances]] = {}
        labelled = []
        for level, kernel, bounds, stride in zip(categories, kernels, self.ranges, self.strides):
            grid = level.shape[2]
            cells = [assign_cells(one, size, grid=grid, bounds=bounds, sigma=self.sigma) for one in shapes]
            labelled.append(focal_of_cells(level, cells, labels))
            counts = [len(one.cells) for one in cells]
            if not sum(counts):
                continue
            mask_size = (size[0] // stride, size[1] // stride)
            logits = cell_masks(kernel, mask_features, cells, size=mask_size)
            known = [box_targets(mask, one, stride, mask_size) for mask, one in zip(masks, cells)]
            levels.setdefault(stride, []).append(Instances(logits.sigmoid(), torch.cat(known), counts))
        projections, energies = [], []
        for parts in levels.values():
            instances = joined(parts)  # levels of one size share the trees of their images
            mask_size = instances.masks.shape[1:]
            projections.append(self.projection * box_projection(instances.masks, instances.boxes))
            energies.append(
                self.energies(instances, resize(image, size=mask_size), resize(level_features, size=mask_size))
            )
        number = sum(len(values) for values in projections)
        terms = {"category": torch.stack(labelled).sum() / (number + 1)}
        if not number:
            nothing = zero_of(mask_features, level_features, *kernels)
            return terms | {"projection": nothing, "level_set": nothing}
        level_set_term = torch.cat(energies).mean() * self.warm_up()
        return terms | {"projection": torch.cat(projections).mean(), "level_set": level_set_term}

    def energies(self, instances: Instances, image: Tensor, features: Tensor) -> Tensor:
        """image: float [B,3,h,w]; features: float [B,C,h,w] -> float32 [n], the weighted level-set terms."""
        masks, boxes, counts = instances
        index = image_index(counts, masks.device)
        total = self.image * level_set(masks, boxes, image, index=index, length=self.length)
        if self.feature:
            target = structure_maps(masks, image, features, counts)
            total = total + self.feature * level_set(masks, boxes, target, length=self.length)
        if self.consistency:
            affinity = local_affinity(image)
            total = total + self.consistency * local_consistency(
                masks, boxes, affinity, counts, iterations=self.iterations
            )
        return total
