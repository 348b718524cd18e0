"""Mask2Former: queries that learn classes and masks from masks of objects or from label maps.

Cheng et al., CVPR 2022, https://arxiv.org/abs/2112.01527. B images, L prediction sets, Q queries, K classes, n objects,
H W image, h w masks.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from segkit import dist
from segkit.constraints.named import NonNegativeFloat, NonNegativeInt
from segkit.losses.base import OBJECTS_VARY, Loss
from segkit.ops.averaging import full_precision
from segkit.ops.instances.class_masks import class_masks
from segkit.ops.instances.matching import class_costs, hungarian
from segkit.ops.instances.point_masks import at_places, mask_costs, masks_at_places, point_dice, uncertain_places
from segkit.ops.instances.query_losses import query_class_loss
from segkit.ops.resizing import resize_masks
from segkit.registry import LOSSES
from segkit.types import IGNORE


class QueryMaskLoss(Loss):
    """Base of the losses of queries: matching, cross entropy of classes, cross entropy and Dice of masks at points.

    Memory: of masks at full size only those of the images are held, as uint8; all else is values at points.

    Args:
        category: weight of the classes, as loss and as cost.
        mask: weight of the masks' cross entropy, as loss and as cost.
        dice: weight of the masks' Dice, as loss and as cost.
        no_object: class weight of queries without an object.
        points: number of points at which masks are compared: anywhere for the matching, three quarters of them where
            the mask is least certain for the losses. 0 compares all pixels of the head's masks.
    """

    no_compile = OBJECTS_VARY

    def __init__(
        self,
        category: NonNegativeFloat = 2.0,
        mask: NonNegativeFloat = 5.0,
        dice: NonNegativeFloat = 5.0,
        no_object: NonNegativeFloat = 0.1,
        points: NonNegativeInt = 12544,
    ):
        super().__init__()
        self.category, self.mask, self.dice, self.no_object = category, mask, dice, no_object
        self.points, self.calls = points, 0

    def get_extra_state(self) -> dict[str, int]:
        """Returns the number of training steps seen."""
        return {"calls": self.calls}

    def set_extra_state(self, state: dict[str, int]) -> None:
        """Restores the number of training steps seen."""
        self.calls = state["calls"]

    def of_objects(
        self,
        class_logits: Sequence[Tensor],
        mask_logits: Sequence[Tensor],
        labels: list[Tensor],
        masks: list[Tensor],
        mask_quality: list[Tensor] | None = None,
    ) -> dict[str, Tensor]:
        """Computes the loss.

        Args:
            class_logits: L of float [B,Q,K+1], the last class is "no object".
            mask_logits: L of float [B,Q,h,w].
            labels: B of int64 [n].
            masks: B of uint8 [n,H,W].
            mask_quality: B of float [n] in 0..1, by which each mask counts; None is 1 for all. Those of quality 0 are
                matched, and teach their class alone.

        Returns:
            float32 [] each: category, mask, dice; the last two are 0 with a graph where nothing is matched.
        """
        self.calls += self.training
        generator = torch.Generator(mask_logits[0].device).manual_seed(self.calls)
        height, width = mask_logits[0].shape[2:]
        known = masks if self.points else [resize_masks(of_image, (height, width)) for of_image in masks]
        maps = [full_precision(of_set) for of_set in mask_logits]
        matches = self.match(class_logits, maps, labels, known, generator)
        category = [
            query_class_loss(logits, pairs, labels, self.no_object) for logits, pairs in zip(class_logits, matches)
        ]
        count = sum(len(queries) for queries, _ in matches[0])
        if mask_quality is not None:
            count = sum(int((q[objects.to(q.device)] > 0).sum()) for q, (_, objects) in zip(mask_quality, matches[0]))
        number = _mean_over_processes(count, maps[0])
        terms = [self._of_set(of_set, pairs, known, mask_quality, generator) for of_set, pairs in zip(maps, matches)]
        entropy = torch.stack([of_set[0] for of_set in terms]).sum() / number
        overlap = torch.stack([of_set[1] for of_set in terms]).sum() / number
        return {
            "category": self.category * torch.stack(category).sum(),
            "mask": self.mask * entropy,
            "dice": self.dice * overlap,
        }

    @torch.no_grad()
    def match(
        self,
        class_logits: Sequence[Tensor],
        maps: Sequence[Tensor],
        labels: list[Tensor],
        known: list[Tensor],
        generator: torch.Generator,
    ) -> list[list[tuple[Tensor, Tensor]]]:
        """Matches queries and objects by class, cross entropy and Dice of masks.

        Args:
            class_logits: L of float [B,Q,K+1].
            maps: L of float [B,Q,h,w], logits of masks.
            labels: B of int64 [n].
            known: B of uint8 [n,H,W], true masks; float [n,h,w] without points.
            generator: draws the points.

        Returns:
            For each set and image the matched (queries, objects), int64 on the host.
        """
        costs = []
        for classes, logits in zip(class_logits, maps):
            for i, truth in enumerate(known):
                if self.points:
                    points = torch.rand(1, self.points, 2, device=truth.device, generator=generator)
                    rows = torch.arange(len(truth), device=truth.device)
                    found, true = at_places(logits[i], points), masks_at_places(truth, rows, points)
                else:
                    found, true = logits[i].flatten(1), truth.flatten(1)
                entropy, overlap = mask_costs(found, true.to(found.dtype))
                of_class = class_costs(classes[i], labels[i])
                costs.append(self.category * of_class + self.mask * entropy + self.dice * overlap)
        pairs = hungarian(costs)
        return [pairs[i : i + len(known)] for i in range(0, len(pairs), len(known))]

    def _of_set(
        self,
        maps: Tensor,
        pairs: list[tuple[Tensor, Tensor]],
        known: list[Tensor],
        mask_quality: list[Tensor] | None,
        generator: torch.Generator,
    ) -> tuple[Tensor, Tensor]:
        """Sums of cross entropy and Dice over the matched queries of one set, float [] each; maps: float [B,Q,h,w]."""
        values = []
        for i, (logits, truth, (queries, objects)) in enumerate(zip(maps, known, pairs)):
            queries, objects = (index.to(maps.device, non_blocking=True) for index in (queries, objects))
            if self.points:
                points = uncertain_places(logits.detach()[queries], self.points, generator)
                # computed again in the backward pass: no copy of the matched masks stays until then
                found = checkpoint(_at_places, logits, queries, points, use_reentrant=False, preserve_rng_state=False)
                true = masks_at_places(truth, objects, points)
            else:
                found, true = logits[queries].flatten(1), truth[objects].flatten(1)
            true = true.to(found.dtype)
            entropy = F.binary_cross_entropy_with_logits(found, true, reduction="none").mean(1)
            dice = point_dice(found.sigmoid(), true)
            if mask_quality is not None:
                quality = mask_quality[i].to(dice)[objects]
                entropy, dice = quality * entropy, quality * dice
            values.append(torch.stack([entropy.sum(), dice.sum()]))
        entropy, overlap = torch.stack(values).sum(0).unbind()
        return entropy, overlap


def _at_places(logits: Tensor, queries: Tensor, places: Tensor) -> Tensor:
    """float [n,P]: the masks of some queries at points; logits: float [Q,h,w]."""
    return at_places(logits[queries], places)


def _mean_over_processes(count: int, like: Tensor) -> Tensor:
    """The mean of a number over all processes, at least 1, float [] on the device of a tensor."""
    return (dist.all_reduce_sum(like.new_tensor(float(count))) / dist.world_size()).clamp_min(1)


@LOSSES.register
class Mask2FormerMasks(QueryMaskLoss):
    """Mask2Former loss: cross entropy of queries; binary cross entropy and Dice of matched masks at sampled points.

    For each prediction set: matching by class, cross entropy and Dice of masks, and these three as losses, the last two
    averaged over matched queries (sections 3.3 and 4 of the paper). The sets are added up. For a Mask2Former head, with
    train.dataset.boxes_only=False. The points are drawn from a generator seeded with the number of training steps,
    which the checkpoint keeps. Several processes divide by the mean of their numbers of matched queries. With
    target=["labels", "masks", "mask_quality"] and boxes_only="mixed" each mask counts by its quality.

    Args:
        category, mask, dice, no_object, points: as of QueryMaskLoss.
    """

    supervision = "masks"
    row = dict(on=["class_logits", "mask_logits"], target=["labels", "masks"], at="native")

    def forward(
        self,
        class_logits: Sequence[Tensor],
        mask_logits: Sequence[Tensor],
        labels: list[Tensor],
        masks: list[Tensor],
        mask_quality: list[Tensor] | None = None,
    ) -> dict[str, Tensor]:
        """Computes the loss, see QueryMaskLoss.of_objects.

        Args:
            class_logits: L of float [B,Q,K+1], the last class is "no object".
            mask_logits: L of float [B,Q,h,w].
            labels: B of int64 [n].
            masks: B of uint8 [n,H,W].
            mask_quality: B of float [n] in 0..1; None is 1 for all.

        Returns:
            float32 [] each: category, mask, dice; the last two are 0 with a graph where nothing is matched.
        """
        return self.of_objects(class_logits, mask_logits, labels, masks, mask_quality)


@LOSSES.register
class Mask2FormerSemantic(QueryMaskLoss):
    """Mask2Former loss of label maps: each class that an image holds is one object, whose mask is all its pixels.

    For heads with queries (Mask2FormerHead and others that derive from QueryHead) and the runner Semantic. Otherwise as
    Mask2FormerMasks. Ignored pixels are 0 in every mask, as published; they are not left out.

    Args:
        category, mask, dice, no_object, points: as of QueryMaskLoss.
        ignore: label of pixels without a class.
    """

    row = dict(on=["class_logits", "mask_logits"], target="mask", at="native")

    def __init__(
        self,
        category: NonNegativeFloat = 2.0,
        mask: NonNegativeFloat = 5.0,
        dice: NonNegativeFloat = 5.0,
        no_object: NonNegativeFloat = 0.1,
        points: NonNegativeInt = 12544,
        ignore: int = IGNORE,
    ):
        super().__init__(category, mask, dice, no_object, points)
        self.ignore = ignore

    def forward(
        self, class_logits: Sequence[Tensor], mask_logits: Sequence[Tensor], target: Tensor
    ) -> dict[str, Tensor]:
        """Computes the loss, see QueryMaskLoss.of_objects.

        Args:
            class_logits: L of float [B,Q,K+1], the last class is "no object".
            mask_logits: L of float [B,Q,h,w].
            target: int64 [B,H,W], label maps.

        Returns:
            float32 [] each: category, mask, dice; the last two are 0 with a graph where no image has a class.
        """
        objects = [class_masks(label_map, self.ignore) for label_map in target]
        labels, masks = [of_image[0] for of_image in objects], [of_image[1] for of_image in objects]
        return self.of_objects(class_logits, mask_logits, labels, masks)
