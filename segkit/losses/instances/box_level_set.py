"""BoxLevelSet: masks learned from boxes by level sets.

Li et al., ECCV 2022, https://arxiv.org/abs/2207.09055. B images, K classes, D channels, S grid of a level, n instances,
H W image, h w masks of a level.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from segkit.constraints.named import NonNegativeFloat, OptionalRounds, PositiveFloat, PositiveInt
from segkit.losses.base import OBJECTS_VARY, Loss
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


class PositiveMasks(NamedTuple):
    """Masks of the positives of one or more levels, in the order of their images.

    Attributes:
        masks: float [n,h,w], probabilities.
        boxes: float [n,h,w], the boxes of their objects as masks.
        counts: number of positives of each of the B images.
        levels: int64 [n], the level of each.
    """

    masks: Tensor
    boxes: Tensor
    counts: list[int]
    levels: Tensor


def merge_levels(levels: list[PositiveMasks]) -> PositiveMasks:
    """Returns the positives of several levels with masks of one size together, in the order of their images."""
    if len(levels) == 1:
        return levels[0]
    masks = _by_image([level.masks.split(level.counts) for level in levels])
    boxes = _by_image([level.boxes.split(level.counts) for level in levels])
    numbers = _by_image([level.levels.split(level.counts) for level in levels])
    return PositiveMasks(masks, boxes, [sum(counts) for counts in zip(*(level.counts for level in levels))], numbers)


def _by_image(levels: Sequence[Sequence[Tensor]]) -> Tensor:
    """The maps of levels and, within them, images, in the order of images and, within them, levels."""
    return torch.cat([maps for of_image in zip(*levels) for maps in of_image])


class GridRule(NamedTuple):
    """Which cells of a SOLO head are positive.

    Attributes:
        ranges: smallest and largest root of a box's area in pixels, for each level.
        strides: of each level's masks.
        sigma: share of a box, around its centre, whose cells are positive.
    """

    ranges: Sequence[tuple[float, float]]
    strides: Sequence[int]
    sigma: float


def positive_masks(
    categories: list[Tensor],
    kernels: list[Tensor],
    mask_features: Tensor,
    boxes: list[Tensor],
    labels: list[Tensor],
    masks: list[Tensor],
    *,
    size: tuple[int, int],
    rule: GridRule,
) -> tuple[Tensor, list[PositiveMasks]]:
    """Computes the sum of the levels' focal losses, and the masks of the positive cells.

    Args:
        categories: logits of the classes, float [B,K,S,S] per level.
        kernels: float [B,D,S,S] per level.
        mask_features: float [B,D,H/4,W/4].
        boxes: B of float [n,4].
        labels: B of int64 [n].
        masks: B of uint8 [n,H,W], boxes as masks.
        size: (H, W) of the image.
        rule: says which cells are positive.

    Returns:
        The sum of the focal losses, float32 [], and the positives of the levels of each stride of masks.
    """
    shapes = object_shapes(boxes, masks)
    focal = []
    by_stride: dict[int, list[PositiveMasks]] = {}
    for i, (level, kernel, bounds, stride) in enumerate(zip(categories, kernels, rule.ranges, rule.strides)):
        grid = level.shape[2]
        cells = [assign_cells(shape, size, grid=grid, bounds=bounds, sigma=rule.sigma) for shape in shapes]
        focal.append(focal_of_cells(level, cells, labels))
        counts = [len(of_image.cells) for of_image in cells]
        if not sum(counts):
            continue
        mask_size = (size[0] // stride, size[1] // stride)
        logits = cell_masks(kernel, mask_features, cells, size=mask_size)
        known = [box_targets(mask, of_image, stride, mask_size) for mask, of_image in zip(masks, cells)]
        numbers = torch.full((len(logits),), i, device=logits.device)
        by_stride.setdefault(stride, []).append(PositiveMasks(logits.sigmoid(), torch.cat(known), counts, numbers))
    # levels of one size share the trees of their images
    return torch.stack(focal).sum(), [merge_levels(levels) for levels in by_stride.values()]


def level_set(
    masks: Tensor, boxes: Tensor, target: Tensor, *, index: Tensor | None = None, length: float = 0.0
) -> Tensor:
    """Computes the level-set energy of masks per pixel of their boxes.

    Args:
        masks: float [n,h,w], probabilities.
        boxes: float [n,h,w], box masks.
        target: float [m,C,h,w], the map that is to be even inside and outside of a mask.
        index: int64 [n], the target of each mask; None is one target for each mask.
        length: weight of the contour's length.

    Returns:
        float32 [n].
    """
    energy = region_energy(masks, boxes, target, index=index)
    if length:
        energy = energy + length * contour_length(masks, boxes)
    return energy / box_areas(boxes)


@LOSSES.register
class BoxLevelSet(Loss):
    """BoxLevelSet loss: focal loss of classes, box projection and level-set energies of masks.

    focal(categories) + mean over positives of projection P + image E(I) + feature E(filtered masks), where P is the box
    projection and E the level-set energy, on the normalized image I and on the mask filtered along the trees of the
    image and of the level features (eq. 9 to 11 of the paper). For a SOLO head with level features.

    Args:
        projection: weight of the box projection.
        image: weight of the energy on the image.
        feature: weight of the energy on the filtered masks.
        length: weight of the contour's length in every E (the authors' code has 1e-5 since 2023, their paper's models
            0).
        consistency: weight of the local consistency of each level's masks, 0.2 for Box2Mask-C.
        iterations: rounds of local consistency.
        projection_steps: first steps that train with the projection alone, for trainings whose level set does not fall.
        ranges: smallest and largest root of a box's area in pixels, for each level.
        strides: of each level's masks.
        sigma: share of a box, around its centre, whose cells are positive.
    """

    supervision = "boxes"
    row = dict(
        on=["categories", "kernels", "mask_features", "level_features", "image"],
        target=["boxes", "labels", "masks"],
        at="native",
    )
    no_compile = OBJECTS_VARY

    def __init__(
        self,
        projection: NonNegativeFloat = 3.0,
        image: NonNegativeFloat = 0.05,
        feature: NonNegativeFloat = 5.0,
        length: NonNegativeFloat = 0.0,
        consistency: NonNegativeFloat = 0.0,
        iterations: OptionalRounds = 10,
        projection_steps: OptionalRounds = 0,
        ranges: Sequence[tuple[float, float]] = RANGES,
        strides: Sequence[PositiveInt] = (4, 4, 8, 16, 16),
        sigma: PositiveFloat = 0.2,
    ):
        super().__init__()
        self.projection, self.image, self.feature, self.length = projection, image, feature, length
        self.consistency, self.iterations = consistency, iterations
        self.rule = GridRule(tuple(ranges), tuple(strides), sigma)
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
        """Computes the loss.

        Args:
            categories: logits of the classes, float [B,K,S,S] per level.
            kernels: float [B,D,S,S] per level.
            mask_features: float [B,D,H/4,W/4].
            level_features: float [B,5,H/4,W/4].
            image: float [B,3,H,W], normalized.
            boxes: B of float [n,4].
            labels: B of int64 [n].
            masks: B of uint8 [n,H,W], boxes as masks.

        Returns:
            float32 [] each: category, projection, level_set; the last two are 0 with a graph where there is no
            positive.
        """
        category, of_sizes = positive_masks(
            categories,
            kernels,
            mask_features,
            boxes,
            labels,
            masks,
            size=(image.shape[2], image.shape[3]),
            rule=self.rule,
        )
        projections, energies = [], []
        for positives in of_sizes:
            height, width = positives.masks.shape[1:]
            projections.append(self.projection * box_projection(positives.masks, positives.boxes))
            small = resize(image, size=(height, width))
            energies.append(self.energies(positives, small, resize(level_features, size=(height, width))))
        number = sum(len(values) for values in projections)
        terms = {"category": category / (number + 1)}
        if not number:
            nothing = zero_of(mask_features, level_features, *kernels)
            return terms | {"projection": nothing, "level_set": nothing}
        level_set_term = torch.cat(energies).mean() * self.warm_up()
        return terms | {"projection": torch.cat(projections).mean(), "level_set": level_set_term}

    def energies(self, positives: PositiveMasks, image: Tensor, features: Tensor) -> Tensor:
        """Computes the weighted level-set terms of positives.

        Args:
            positives: masks of one size.
            image: float [B,3,h,w].
            features: float [B,C,h,w], the level features.

        Returns:
            float32 [n].
        """
        masks, boxes, counts, levels = positives
        index = image_index(counts, masks.device)
        total = self.image * level_set(masks, boxes, image, index=index, length=self.length)
        if self.feature:
            target = structure_maps(masks, image, features, counts)
            total = total + self.feature * level_set(masks, boxes, target, length=self.length)
        if self.consistency:
            terms = local_consistency(
                masks,
                boxes,
                local_affinity(image),
                counts,
                levels,
                number=len(self.rule.strides),
                iterations=self.iterations,
            )
            total = total + self.consistency * terms[levels]
        return total
