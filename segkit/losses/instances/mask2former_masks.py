"""Mask2Former: queries that learn classes and masks from masks.

Cheng et al., CVPR 2022, https://arxiv.org/abs/2112.01527. B images, L prediction sets, Q queries, K classes, n objects,
H W image, h w masks.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from segkit.constraints.named import NonNegativeFloat, NonNegativeInt
from segkit.losses.base import Loss
from segkit.ops.averaging import full_precision
from segkit.ops.instances.matching import class_costs, hungarian
from segkit.ops.instances.point_masks import at_places, mask_costs, point_dice, uncertain_places
from segkit.ops.instances.query_losses import query_class_loss
from segkit.ops.resizing import resize
from segkit.registry import LOSSES


@LOSSES.register
class Mask2FormerMasks(Loss):
    """Mask2Former loss: cross entropy of queries; binary cross entropy and Dice of matched masks at sampled points.

    For each prediction set: matching by class, cross entropy and Dice of masks, and these three as losses, the last two
    averaged over matched queries (sections 3.3 and 4 of the paper). The sets are added up. For a Mask2Former head, with
    train.dataset.boxes_only=False. The points are drawn from a generator seeded with the number of training steps,
    which the checkpoint keeps.

    Args:
        category: weight of the classes, as loss and as cost.
        mask: weight of the masks' cross entropy, as loss and as cost.
        dice: weight of the masks' Dice, as loss and as cost.
        no_object: class weight of queries without an object.
        points: number of points at which masks are compared: anywhere for the matching, three quarters of them where
            the mask is least certain for the losses. 0 compares all pixels of the head's masks.
    """

    supervision = "masks"
    row = dict(on=["class_logits", "mask_logits"], target=["labels", "masks"], at="native")

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

    def forward(
        self, class_logits: Sequence[Tensor], mask_logits: Sequence[Tensor], labels: list[Tensor], masks: list[Tensor]
    ) -> dict[str, Tensor]:
        """Computes the loss.

        Args:
            class_logits: L of float [B,Q,K+1], the last class is "no object".
            mask_logits: L of float [B,Q,h,w].
            labels: B of int64 [n].
            masks: B of uint8 [n,H,W].

        Returns:
            float32 [] each: category, mask, dice; the last two are 0 with a graph where nothing is matched.
        """
        self.calls += self.training
        generator = torch.Generator(mask_logits[0].device).manual_seed(self.calls)
        height, width = mask_logits[0].shape[2:]
        known = [self._known(of_image, (height, width)) for of_image in masks]
        maps = [full_precision(of_set) for of_set in mask_logits]
        matches = self.match(class_logits, maps, labels, known, generator)
        category = [
            query_class_loss(logits, pairs, labels, self.no_object) for logits, pairs in zip(class_logits, matches)
        ]
        terms = [self._of_set(of_set, pairs, known, generator) for of_set, pairs in zip(maps, matches)]
        entropy = torch.stack([of_set[0] for of_set in terms]).sum()
        overlap = torch.stack([of_set[1] for of_set in terms]).sum()
        return {
            "category": self.category * torch.stack(category).sum(),
            "mask": self.mask * entropy,
            "dice": self.dice * overlap,
        }

    def _known(self, masks: Tensor, size: tuple[int, int]) -> Tensor:
        """True masks as float32: unchanged for points, resized to the head's masks where all pixels are compared."""
        masks = masks.float()
        return masks if self.points or not len(masks) else resize(masks, size=size)

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
            known: B of float32 [n,H,W], true masks; [n,h,w] without points.
            generator: draws the points.

        Returns:
            For each set and image the matched (queries, objects), int64 on the host.
        """
        costs = []
        for classes, logits in zip(class_logits, maps):
            for i, truth in enumerate(known):
                if self.points:
                    points = torch.rand(1, self.points, 2, device=truth.device, generator=generator)
                    found, true = at_places(logits[i], points), at_places(truth, points)
                else:
                    found = logits[i].flatten(1)
                    true = truth.flatten(1) if len(truth) else logits.new_zeros(0, logits[i][0].numel())
                entropy, overlap = mask_costs(found, true)
                of_class = class_costs(classes[i], labels[i])
                costs.append(self.category * of_class + self.mask * entropy + self.dice * overlap)
        pairs = hungarian(costs)
        return [pairs[i : i + len(known)] for i in range(0, len(pairs), len(known))]

    def _of_set(
        self, maps: Tensor, pairs: list[tuple[Tensor, Tensor]], known: list[Tensor], generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Cross entropy and Dice of the matched queries of one set, float32 [] each; maps: float [B,Q,h,w]."""
        number, values = max(sum(len(queries) for queries, _ in pairs), 1), []
        for logits, truth, (queries, objects) in zip(maps, known, pairs):
            queries, objects = (index.to(maps.device, non_blocking=True) for index in (queries, objects))
            found, true = logits[queries], truth[objects]
            if self.points:
                points = uncertain_places(found, self.points, generator)
                found, true = at_places(found, points), at_places(true, points)
            found = found.flatten(1)
            true = true.flatten(1) if len(true) else torch.zeros_like(found)
            entropy = F.binary_cross_entropy_with_logits(found, true, reduction="none").mean(1).sum()
            values.append(torch.stack([entropy, point_dice(found.sigmoid(), true).sum()]) / number)
        entropy, overlap = torch.stack(values).sum(0).unbind()
        return entropy, overlap
