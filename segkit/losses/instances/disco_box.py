"""DiscoBox: a teacher's masks, made to agree with the image, teach the student. Lan et al., ICCV 2021,
https://arxiv.org/abs/2105.06464. B images, K classes, D channels, S grid of a level, n instances, m positives of a
level, H W image, s cells a side of an object."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from segkit.losses.base import Loss
from segkit.losses.instances.disco_bank import ObjectBank, Objects
from segkit.ops.averaging import zero_of
from segkit.ops.instances.box_cells import box_cells, box_features
from segkit.ops.instances.box_projection import box_projection, vector_dice
from segkit.ops.instances.cell_losses import box_targets, focal_of_cells
from segkit.ops.instances.cell_masks import cell_masks
from segkit.ops.instances.correspondence import correspondence, correspondence_loss
from segkit.ops.instances.grid_assignment import RANGES, Cells, assign_cells, object_shapes
from segkit.ops.instances.mean_field import mean_field, window_affinity
from segkit.registry import LOSSES

DICE_EPS = 0.002
"""0.001 on each of the two sums of squares."""


class Positives(NamedTuple):
    """Of one level: projection, dice: float [m], terms of each; pseudo: bool [m,h,w], their labels; owners: int64 [m]
    on the host, of which object of the batch each is."""

    projection: Tensor
    dice: Tensor
    pseudo: Tensor
    owners: Tensor


@LOSSES.register
class DiscoBox(Loss):
    """focal(categories) + mean P + mean Dice(student, pseudo label) + dense correspondence, where P is the box
    projection, the pseudo label the mean field of the mean of teacher's and student's mask in the box (sections 3.1 and
    3.2 of the paper), and the correspondence a contrast of the cells of an object with those of objects of its class in
    earlier images (section 3.3): the teacher says which cell of one is which of the other.

    A SOLO head's row: on=["categories", "kernels", "mask_features", "teacher.kernels", "teacher.mask_features",
    "image"], target=["boxes", "labels", "masks"], at="native"; before there is a teacher the student's own outputs do.
    projection, pseudo, correspondence: weights; threshold, correspondence_threshold: pseudo labels and correspondences
    teach once the running mean of P (momentum 0.9, from 2, its largest value) is below them; bank: objects held per
    class, ObjectBank says in what memory; retrieved: how many of them must be like an object for it to take part; side:
    cells a side of an object; ranges, sigma, strides: as in BoxLevelSet.
    """

    row = dict(
        on=["categories", "kernels", "mask_features", "teacher.kernels", "teacher.mask_features", "image"],
        target=["boxes", "labels", "masks"],
        at="native",
    )

    supervision = "boxes"

    def __init__(
        self,
        projection: float = 1.0,
        pseudo: float = 1.0,
        correspondence: float = 1.0,
        threshold: float = 0.3,
        correspondence_threshold: float = 0.2,
        momentum: float = 0.9,
        bank: int = 100,
        retrieved: int = 5,
        side: int = 7,
        ranges: Sequence[tuple[float, float]] = RANGES,
        strides: Sequence[int] = (4, 4, 8, 16, 16),
        sigma: float = 0.2,
    ):
        super().__init__()
        self.projection, self.pseudo, self.correspondence = projection, pseudo, correspondence
        self.threshold, self.correspondence_threshold, self.momentum = threshold, correspondence_threshold, momentum
        self.side, self.ranges, self.strides, self.sigma = side, tuple(ranges), tuple(strides), sigma
        self.bank = ObjectBank(bank, retrieved)
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
        teacher_features: float [B,D,H/4,W/4]; image: float [B,3,H,W], normalized; boxes: B of float [n,4]; labels: B of
        int64 [n]; masks: B of uint8 [n,H,W], boxes as masks -> dict of float32 []: category, projection, pseudo,
        correspondence; without a positive all but the first are 0 with a graph."""
        shapes, size = object_shapes(boxes, masks), tuple(image.shape[2:])
        levels, labelled = [], []
        for i, (level, bounds, stride) in enumerate(zip(categories, self.ranges, self.strides)):
            cells = [assign_cells(one, size, grid=level.shape[2], bounds=bounds, sigma=self.sigma) for one in shapes]
            labelled.append(focal_of_cells(level, cells, labels))
            if any(len(one.cells) for one in cells):
                student, teacher = (kernels[i], mask_features), (teacher_kernels[i], teacher_features)
                levels.append(self.positives(student, teacher, cells, image, masks, stride))
        number = sum(len(level.owners) for level in levels)
        terms = {"category": torch.stack(labelled).sum() / (number + 1)}
        if not number:
            nothing = zero_of(mask_features, *kernels)
            return terms | {"projection": nothing, "pseudo": nothing, "correspondence": nothing}
        projection = torch.cat([level.projection for level in levels]).mean()
        if self.training:
            self.mean_projection.lerp_(projection.detach(), 1 - self.momentum)
        dice = torch.cat([level.dice for level in levels]).mean()
        terms |= {
            "projection": self.projection * projection,
            "pseudo": self.pseudo * (self.mean_projection < self.threshold) * dice,
        }
        if self.correspondence:
            features = mask_features, teacher_features
            contrast = self.contrast(features, levels, boxes, labels, size=size, num_classes=categories[0].shape[1])
            is_ready = self.mean_projection < self.correspondence_threshold
            terms["correspondence"] = self.correspondence * is_ready * contrast
        return terms

    def positives(
        self,
        student: tuple[Tensor, Tensor],
        teacher: tuple[Tensor, Tensor],
        cells: list[Cells],
        image: Tensor,
        masks: list[Tensor],
        stride: int,
    ) -> Positives:
        """student, teacher: kernels float [B,D,S,S] of a level and mask features float [B,D,H/4,W/4]; cells: its
        flagged ones, of each image -> its Positives, one or more."""
        mask_size, counts = tuple(side // stride for side in image.shape[2:]), [len(one.cells) for one in cells]
        own = cell_masks(*student, cells, size=mask_size).sigmoid()
        with torch.no_grad():
            other = cell_masks(*teacher, cells, size=mask_size).sigmoid()
        known = torch.cat([box_targets(mask, one, stride, mask_size) for mask, one in zip(masks, cells)])
        small = F.interpolate(image.float(), size=mask_size, mode="bilinear", align_corners=True)
        pseudo = mean_field((own.detach() + other) / 2, known, window_affinity(small), counts)
        projection = box_projection(own, known, eps=DICE_EPS)
        dice = vector_dice(own.flatten(1), pseudo.flatten(1).float(), eps=DICE_EPS)
        starts = [sum(len(mask) for mask in masks[:i]) for i in range(len(masks))]
        owners = torch.cat([one.objects + start for one, start in zip(cells, starts)])
        return Positives(projection, dice, pseudo, owners)

    def contrast(
        self,
        features: tuple[Tensor, Tensor],
        levels: list[Positives],
        boxes: list[Tensor],
        labels: list[Tensor],
        *,
        size: tuple[int, int],
        num_classes: int,
    ) -> Tensor:
        """features: of student and teacher, float [B,D,H/4,W/4] -> float32 [], the correspondence term of the objects
        that have a positive, which the bank then takes up in training."""
        student, teacher = (box_features(maps, boxes, size, side=self.side) for maps in features)
        corners = torch.cat(boxes)
        seen = torch.zeros(2, len(corners), self.side, self.side, device=student.device)
        for level in levels:
            owners = level.owners.to(student.device)
            inside = box_cells(level.pseudo.float(), corners[owners], size, side=self.side)
            seen.index_add_(1, owners, torch.stack([inside, torch.ones_like(inside)]))
        used = torch.unique(torch.cat([level.owners for level in levels])).to(student.device)
        width, height = (corners[:, 2:] - corners[:, :2]).float().clamp_min(1).unbind(1)
        pseudo = seen[0] > 0.5 * seen[1]  # mean over an object's positives
        objects = Objects(torch.cat(labels)[used], teacher.detach()[used], pseudo[used], (width / height)[used])
        self.bank.reserve(num_classes, teacher)
        others, is_used = self.bank.retrieve(objects)
        others = others.float()
        assignment = correspondence(objects.features, others)
        weight = objects.masks & is_used.view(-1, 1, 1)
        if self.training:
            self.bank.add(objects)
        return correspondence_loss(student[used], others, assignment, weight)
