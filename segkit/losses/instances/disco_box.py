"""DiscoBox: a teacher's masks, refined by the image, teach the student.

Lan et al., ICCV 2021, https://arxiv.org/abs/2105.06464. B images, K classes, D channels, S grid of a level, n
instances, m positives of a level, H W image, s cells a side of an object.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from segkit.constraints.named import Decay, Fraction, NonNegativeFloat, PositiveFloat, PositiveInt
from segkit.losses.base import OBJECTS_VARY, Loss
from segkit.losses.instances.disco_bank import BankObjects, ObjectBank
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


class LevelTerms(NamedTuple):
    """Terms and pseudo labels of the positives of one level.

    Attributes:
        projection: float [m], box projection of each.
        dice: float [m], Dice to the pseudo label of each.
        pseudo: bool [m,h,w], the pseudo labels.
        owners: int64 [m] on the host, the object of the batch that each belongs to.
    """

    projection: Tensor
    dice: Tensor
    pseudo: Tensor
    owners: Tensor


@LOSSES.register
class DiscoBox(Loss):
    """DiscoBox loss: focal loss of classes, box projection, Dice to pseudo labels and dense correspondence.

    focal(categories) + mean P + mean Dice(student, pseudo label) + dense correspondence. P is the box projection. The
    pseudo label is the mean field of the mean of the teacher's and the student's mask in the box (sections 3.1 and 3.2
    of the paper). The correspondence contrasts the cells of an object with those of objects of its class in earlier
    images; the teacher says which cell of one corresponds to which of the other (section 3.3). For a SOLO head without
    level features; before there is a teacher the student's own outputs stand for its.

    Args:
        projection: weight of the box projection.
        pseudo: weight of the Dice to pseudo labels.
        correspondence: weight of the correspondence; 0 leaves it out.
        threshold: pseudo labels teach once the running mean of P, which starts from 2, its largest value, is below it.
        correspondence_threshold: the same for the correspondence.
        momentum: of the running mean of P.
        bank: objects held per class; ObjectBank says in what memory.
        retrieved: an object takes part in the correspondence where so many held objects are like it.
        side: cells a side of an object.
        ranges: as of BoxLevelSet, as strides and sigma.
        strides: of each level's masks.
        sigma: share of a box, around its centre, whose cells are positive.
    """

    supervision = "boxes"
    row = dict(
        on=["categories", "kernels", "mask_features", "teacher.kernels", "teacher.mask_features", "image"],
        target=["boxes", "labels", "masks"],
        at="native",
    )
    no_compile = OBJECTS_VARY
    mean_projection: Tensor

    def __init__(
        self,
        projection: NonNegativeFloat = 1.0,
        pseudo: NonNegativeFloat = 1.0,
        correspondence: NonNegativeFloat = 1.0,
        threshold: Fraction = 0.3,
        correspondence_threshold: Fraction = 0.2,
        momentum: Decay = 0.9,
        bank: PositiveInt = 100,
        retrieved: PositiveInt = 5,
        side: PositiveInt = 7,
        ranges: Sequence[tuple[float, float]] = RANGES,
        strides: Sequence[PositiveInt] = (4, 4, 8, 16, 16),
        sigma: PositiveFloat = 0.2,
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
        """Computes the loss.

        Args:
            categories: logits of the classes, float [B,K,S,S] per level.
            kernels: float [B,D,S,S] per level.
            mask_features: float [B,D,H/4,W/4].
            teacher_kernels: float [B,D,S,S] per level.
            teacher_features: float [B,D,H/4,W/4].
            image: float [B,3,H,W], normalized.
            boxes: B of float [n,4].
            labels: B of int64 [n].
            masks: B of uint8 [n,H,W], boxes as masks.

        Returns:
            float32 [] each: category, projection, pseudo, correspondence; all but the first are 0 with a graph where
            there is no positive.
        """
        shapes = object_shapes(boxes, masks)
        height, width = image.shape[2:]
        size = (height, width)
        levels, focal = [], []
        for i, (level, bounds, stride) in enumerate(zip(categories, self.ranges, self.strides)):
            grid = level.shape[2]
            cells = [assign_cells(shape, size, grid=grid, bounds=bounds, sigma=self.sigma) for shape in shapes]
            focal.append(focal_of_cells(level, cells, labels))
            if any(len(of_image.cells) for of_image in cells):
                mask_size = (height // stride, width // stride)
                student = cell_masks(kernels[i], mask_features, cells, size=mask_size).sigmoid()
                with torch.no_grad():
                    teacher = cell_masks(teacher_kernels[i], teacher_features, cells, size=mask_size).sigmoid()
                known = torch.cat(
                    [box_targets(mask, of_image, stride, mask_size) for mask, of_image in zip(masks, cells)]
                )
                levels.append(self.level_terms(student, teacher, known, cells, image, masks))
        number = sum(len(level.owners) for level in levels)
        terms = {"category": torch.stack(focal).sum() / (number + 1)}
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
            num_classes = categories[0].shape[1]
            contrast = self.contrast(
                mask_features, teacher_features, levels, boxes, labels, size=size, num_classes=num_classes
            )
            is_ready = self.mean_projection < self.correspondence_threshold
            terms["correspondence"] = self.correspondence * is_ready * contrast
        return terms

    def level_terms(
        self,
        student: Tensor,
        teacher: Tensor,
        known: Tensor,
        cells: list[Cells],
        image: Tensor,
        masks: list[Tensor],
    ) -> LevelTerms:
        """Computes the mask terms of the positives of one level, one or more.

        Args:
            student: float [m,h,w], the student's masks, probabilities.
            teacher: float [m,h,w], the teacher's.
            known: float [m,h,w], the boxes as masks.
            cells: positive cells of each image.
            image: float [B,3,H,W], normalized.
            masks: B of uint8 [n,H,W], boxes as masks.
        """
        counts = [len(of_image.cells) for of_image in cells]
        small = F.interpolate(image.float(), size=student.shape[1:], mode="bilinear", align_corners=True)
        pseudo = mean_field((student.detach() + teacher) / 2, known, window_affinity(small), counts)
        projection = box_projection(student, known, eps=DICE_EPS)
        dice = vector_dice(student.flatten(1), pseudo.flatten(1).float(), eps=DICE_EPS)
        starts = [sum(len(mask) for mask in masks[:i]) for i in range(len(masks))]
        owners = torch.cat([of_image.objects + start for of_image, start in zip(cells, starts)])
        return LevelTerms(projection, dice, pseudo, owners)

    def contrast(
        self,
        student_features: Tensor,
        teacher_features: Tensor,
        levels: list[LevelTerms],
        boxes: list[Tensor],
        labels: list[Tensor],
        *,
        size: tuple[int, int],
        num_classes: int,
    ) -> Tensor:
        """Computes the correspondence term of the objects that have a positive; in training the bank then stores them.

        Args:
            student_features: float [B,D,H/4,W/4].
            teacher_features: float [B,D,H/4,W/4].
            levels: terms of the levels.
            boxes: B of float [n,4].
            labels: B of int64 [n].
            size: (H, W).
            num_classes: K.

        Returns:
            float32 [].
        """
        student = box_features(student_features, boxes, size, side=self.side)
        teacher = box_features(teacher_features, boxes, size, side=self.side)
        corners = torch.cat(boxes)
        seen = torch.zeros(2, len(corners), self.side, self.side, device=student.device)
        for level in levels:
            owners = level.owners.to(student.device)
            inside = box_cells(level.pseudo.float(), corners[owners], size, side=self.side)
            seen.index_add_(1, owners, torch.stack([inside, torch.ones_like(inside)]))
        used = torch.unique(torch.cat([level.owners for level in levels])).to(student.device)
        width, height = (corners[:, 2:] - corners[:, :2]).float().clamp_min(1).unbind(1)
        pseudo = seen[0] > 0.5 * seen[1]  # mean over an object's positives
        objects = BankObjects(torch.cat(labels)[used], teacher.detach()[used], pseudo[used], (width / height)[used])
        self.bank.reserve(num_classes, teacher)
        others, is_used = self.bank.retrieve(objects)
        others = others.float()
        assignment = correspondence(objects.features, others)
        weight = objects.masks & is_used.view(-1, 1, 1)
        if self.training:
            self.bank.add(objects)
        return correspondence_loss(student[used], others, assignment, weight)
