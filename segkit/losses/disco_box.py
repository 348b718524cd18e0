"""DiscoBox: a teacher's masks, made to agree with the image, teach the student. Lan et al., ICCV 2021,
https://arxiv.org/abs/2105.06464. B images, K classes, D channels, S grid of a level, n instances, H W image."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segkit.losses.box_level_set import box_targets, focal_of_cells
from segkit.ops.box_projection import box_projection, vector_dice
from segkit.ops.cell_masks import cell_masks
from segkit.ops.grid_assignment import RANGES, assign_cells, object_shapes
from segkit.ops.mean_field import mean_field, window_affinity
from segkit.registry import LOSSES

DICE_EPS = 0.002
"""0.001 on each of the two sums of squares."""


@LOSSES.register
class DiscoBox(nn.Module):
    """focal(categories) + mean P + mean Dice(student, pseudo label), where P is the box projection and the pseudo label
    the mean field of the mean of teacher's and student's mask in the box (sections 3.1 and 3.2 of the paper).

    A SOLO head's row: on=["categories", "kernels", "mask_features", "teacher.kernels", "teacher.mask_features",
    "image"], target=["boxes", "labels", "masks"], at="native"; before there is a teacher the student's own outputs do.
    projection, pseudo: weights; threshold: pseudo labels teach once the running mean of P (momentum 0.9, from 2, its
    largest value) is below it; ranges, sigma, strides: as in BoxLevelSet.
    """

    def __init__(
        self,
        projection: float = 1.0,
        pseudo: float = 1.0,
        threshold: float = 0.3,
        momentum: float = 0.9,
        ranges: Sequence[tuple[float, float]] = RANGES,
        strides: Sequence[int] = (4, 4, 8, 16, 16),
        sigma: float = 0.2,
    ):
        super().__init__()
        self.projection, self.pseudo, self.threshold, self.momentum = projection, pseudo, threshold, momentum
        self.ranges, self.strides, self.sigma = tuple(ranges), tuple(strides), sigma
        self.register_buffer("mean_projection", torch.tensor(2.0))

    def forward(
        self,
        categories: list[Tensor],
        kernels: list[Tensor],
        mask_features: Tensor,
        teacher_kernels: list[Tensor],
        teacher_features: Tensor,
        image: Tensor,
        boxes: list[Tensor],
        labels: list[Tensor],
        masks: list[Tensor],
    ) -> dict[str, Tensor]:
        """categories: float [B,K,S,S] of each level; kernels, teacher_kernels: float [B,D,S,S] of each; mask_features,
        teacher_features: float [B,D,H/4,W/4]; image: float [B,3,H,W], normalised; boxes: B of float [n,4]; labels: B of
        int64 [n]; masks: B of uint8 [n,H,W], boxes as masks -> dict of float32 []: category, projection, pseudo;
        without a positive the last two are 0 with a graph."""
        shapes, size = object_shapes(boxes, masks), tuple(image.shape[2:])
        projections, dices, labelled = [], [], []
        for i, (level, bounds, stride) in enumerate(zip(categories, self.ranges, self.strides)):
            cells = [assign_cells(one, size, grid=level.shape[2], bounds=bounds, sigma=self.sigma) for one in shapes]
            labelled.append(focal_of_cells(level, cells, labels))
            counts = [len(one.cells) for one in cells]
            if not sum(counts):
                continue
            mask_size = (size[0] // stride, size[1] // stride)
            student = cell_masks(kernels[i], mask_features, cells, size=mask_size).sigmoid()
            with torch.no_grad():
                teacher = cell_masks(teacher_kernels[i], teacher_features, cells, size=mask_size).sigmoid()
            known = torch.cat([box_targets(mask, one, stride, mask_size) for mask, one in zip(masks, cells)])
            small = F.interpolate(image.float(), size=mask_size, mode="bilinear", align_corners=True)
            pseudo = mean_field((student.detach() + teacher) / 2, known, window_affinity(small), counts)
            projections.append(box_projection(student, known, eps=DICE_EPS))
            dices.append(vector_dice(student.flatten(1), pseudo.flatten(1).float(), eps=DICE_EPS))
        number = sum(len(values) for values in projections)
        terms = {"category": torch.stack(labelled).sum() / (number + 1)}
        if not number:
            nothing = 0 * (mask_features.sum() + sum(kernel.sum() for kernel in kernels)).float()
            return terms | {"projection": nothing, "pseudo": nothing}
        projection = torch.cat(projections).mean()
        is_ready = self._is_ready(projection.detach())
        pseudo_term = self.pseudo * is_ready * torch.cat(dices).mean()
        return terms | {"projection": self.projection * projection, "pseudo": pseudo_term}

    def _is_ready(self, projection: Tensor) -> Tensor:
        """projection: float [] -> float [], 1 once its running mean is below the threshold; counts it in training."""
        if self.training:
            self.mean_projection.lerp_(projection, 1 - self.momentum)
        return (self.mean_projection < self.threshold).float()
