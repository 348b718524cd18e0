"""Mask2Former: queries that learn classes and masks from masks. Cheng et al., CVPR 2022,
https://arxiv.org/abs/2112.01527. B images, L prediction sets, Q queries, K classes, n objects, H W image, h w masks."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from segkit.losses.base import Loss
from segkit.ops.averaging import full_precision
from segkit.ops.instances.matching import class_costs, hungarian
from segkit.ops.instances.point_masks import at_places, mask_costs, point_dice, uncertain_places
from segkit.ops.instances.query_losses import query_class_loss
from segkit.ops.resizing import resize
from segkit.registry import LOSSES


@LOSSES.register
class Mask2FormerMasks(Loss):
    """For each prediction set: matching by class, cross entropy and Dice of masks, and these three as losses, the last
    two of matched queries over their number (sections 3.3 and 4 of the paper). Sets are added up.

    A Mask2Former head's row: on=["class_logits", "mask_logits"], target=["labels", "masks"], at="native", with
    train.dataset.boxes_only=False. category, mask, dice: weights of losses and of costs; no_object: class weight of
    queries without an object; points: that masks are compared at, anywhere for the matching, three quarters of them
    where the mask is least certain for the losses; 0 for all pixels of the head's masks. The places are drawn from a
    count of the training steps, which is kept in the checkpoint.
    """

    row = dict(on=["class_logits", "mask_logits"], target=["labels", "masks"], at="native")

    supervision = "masks"

    def __init__(
        self, category: float = 2.0, mask: float = 5.0, dice: float = 5.0, no_object: float = 0.1, points: int = 12544
    ):
        super().__init__()
        self.category, self.mask, self.dice, self.no_object = category, mask, dice, no_object
        self.points, self.calls = points, 0

    def get_extra_state(self) -> dict[str, int]:
        """The number of training steps seen."""
        return {"calls": self.calls}

    def set_extra_state(self, state: dict[str, int]) -> None:
        self.calls = state["calls"]

    def forward(
        self, class_logits: Sequence[Tensor], mask_logits: Sequence[Tensor], labels: list[Tensor], masks: list[Tensor]
    ) -> dict[str, Tensor]:
        """class_logits: L of float [B,Q,K+1], the last class being no object; mask_logits: L of float [B,Q,h,w];
        labels: B of int64 [n]; masks: B of uint8 [n,H,W] -> dict of float32 []: category, mask, dice; without a match
        the last two are 0 with a graph."""
        self.calls += self.training
        generator = torch.Generator(mask_logits[0].device).manual_seed(self.calls)
        known = [self._known(one, tuple(mask_logits[0].shape[2:])) for one in masks]
        maps = [full_precision(one) for one in mask_logits]
        matches = self.match(class_logits, maps, labels, known, generator)
        category = [query_class_loss(*parts, labels, self.no_object) for parts in zip(class_logits, matches)]
        parts = [self._of_set(*one, known, generator) for one in zip(maps, matches)]
        entropy, overlap = (torch.stack(values).sum() for values in zip(*parts))
        return {
            "category": self.category * torch.stack(category).sum(),
            "mask": self.mask * entropy,
            "dice": self.dice * overlap,
        }

    def _known(self, masks: Tensor, size: tuple[int, int]) -> Tensor:
        """uint8 [n,H,W] -> float32, as it is for points, of the head's size for all pixels."""
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
        """-> for each set and image the matched (queries, objects), int64 on the host."""
        costs = []
        for classes, logits in zip(class_logits, maps):
            for i, truth in enumerate(known):
                if self.points:
                    places = torch.rand(1, self.points, 2, device=truth.device, generator=generator)
                    pair = at_places(logits[i], places), at_places(truth, places)
                else:
                    pair = (
                        logits[i].flatten(1),
                        truth.flatten(1) if len(truth) else logits.new_zeros(0, logits[i][0].numel()),
                    )
                entropy, overlap = mask_costs(*pair)
                of_class = class_costs(classes[i], labels[i])
                costs.append(self.category * of_class + self.mask * entropy + self.dice * overlap)
        pairs = hungarian(costs)
        return [pairs[i : i + len(known)] for i in range(0, len(pairs), len(known))]

    def _of_set(
        self, maps: Tensor, pairs: list[tuple[Tensor, Tensor]], known: list[Tensor], generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """maps: float [B,Q,h,w] -> float32 [] each: cross entropy and Dice of the matched queries."""
        number, values = max(sum(len(queries) for queries, _ in pairs), 1), []
        for logits, truth, (queries, objects) in zip(maps, known, pairs):
            queries, objects = (part.to(maps.device, non_blocking=True) for part in (queries, objects))
            found, true = logits[queries], truth[objects]
            if self.points:
                places = uncertain_places(found, self.points, generator)
                found, true = at_places(found, places), at_places(true, places)
            found = found.flatten(1)
            true = true.flatten(1) if len(true) else torch.zeros_like(found)
            entropy = F.binary_cross_entropy_with_logits(found, true, reduction="none").mean(1).sum()
            values.append(torch.stack([entropy, point_dice(found.sigmoid(), true).sum()]) / number)
        return tuple(torch.stack(values).sum(0).unbind())
