"""MaskFormer: queries that learn classes and masks from label maps, at all pixels.

Cheng et al., NeurIPS 2021, https://arxiv.org/abs/2107.06278. B images, L prediction sets, Q queries, K classes, n
classes present, H W image, h w masks.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from segkit import dist
from segkit.constraints.named import NonNegativeFloat
from segkit.losses.base import OBJECTS_VARY, Loss
from segkit.ops.averaging import full_precision
from segkit.ops.instances.class_masks import class_masks
from segkit.ops.instances.focal import focal_costs, mask_focal
from segkit.ops.instances.matching import class_costs, hungarian
from segkit.ops.instances.point_masks import mask_costs, point_dice
from segkit.ops.instances.query_losses import query_class_loss
from segkit.ops.resizing import resize
from segkit.registry import LOSSES
from segkit.types import IGNORE


@LOSSES.register
class MaskFormerSemantic(Loss):
    """MaskFormer loss of label maps: cross entropy of queries; focal loss and Dice of matched masks at all pixels.

    Each class that an image holds is one object. For each prediction set: matching by class, focal loss and Dice, with
    the true masks at the size of the head's; then these three as losses, with the head's masks at the size of the
    image, the last two averaged over matched queries (section 3.2 of the paper). The sets are added up. Ignored pixels
    are 0 in every mask, as published.

    Args:
        category: weight of the classes, as loss and as cost.
        mask: weight of the masks' focal loss, as loss and as cost.
        dice: weight of the masks' Dice, as loss and as cost.
        no_object: class weight of queries without an object.
        ignore: label of pixels without a class.
    """

    row = dict(on=["class_logits", "mask_logits"], target="mask", at="native")
    no_compile = OBJECTS_VARY

    def __init__(
        self,
        category: NonNegativeFloat = 1.0,
        mask: NonNegativeFloat = 20.0,
        dice: NonNegativeFloat = 1.0,
        no_object: NonNegativeFloat = 0.1,
        ignore: int = IGNORE,
    ):
        super().__init__()
        self.category, self.mask, self.dice, self.no_object, self.ignore = category, mask, dice, no_object, ignore

    def forward(
        self, class_logits: Sequence[Tensor], mask_logits: Sequence[Tensor], target: Tensor
    ) -> dict[str, Tensor]:
        """Computes the loss.

        Args:
            class_logits: L of float [B,Q,K+1], the last class is "no object".
            mask_logits: L of float [B,Q,h,w].
            target: int64 [B,H,W], label maps.

        Returns:
            float32 [] each: category, mask, dice; the last two are 0 with a graph where no image has a class.
        """
        objects = [class_masks(label_map, self.ignore) for label_map in target]
        labels = [of_image[0] for of_image in objects]
        masks = [of_image[1].to(full_precision(mask_logits[0]).dtype) for of_image in objects]
        totals = {"category": [], "mask": [], "dice": []}  # type: dict[str, list[Tensor]]
        for classes, maps in zip(class_logits, mask_logits):
            maps = full_precision(maps)
            pairs = self.match(classes, maps, labels, masks)
            totals["category"].append(query_class_loss(classes, pairs, labels, self.no_object))
            for logits, truth, (queries, found) in zip(maps, masks, pairs):
                queries, found = (index.to(maps.device, non_blocking=True) for index in (queries, found))
                size = (target.shape[1], target.shape[2])
                large, true = resize(logits[queries], size=size).flatten(1), truth[found].flatten(1)
                totals["mask"].append(mask_focal(large, true).mean(1).sum())
                totals["dice"].append(point_dice(large.sigmoid(), true).sum())
        matched = maps.new_tensor(float(sum(min(len(of_image), maps.shape[1]) for of_image in labels)))
        number = (dist.all_reduce_sum(matched) / dist.world_size()).clamp_min(1)
        return {
            "category": self.category * torch.stack(totals["category"]).sum(),
            "mask": self.mask * torch.stack(totals["mask"]).sum() / number,
            "dice": self.dice * torch.stack(totals["dice"]).sum() / number,
        }

    @torch.no_grad()
    def match(
        self, classes: Tensor, maps: Tensor, labels: list[Tensor], masks: list[Tensor]
    ) -> list[tuple[Tensor, Tensor]]:
        """Matches queries and classes present by class, focal loss and Dice of masks.

        Args:
            classes: float [B,Q,K+1].
            maps: float [B,Q,h,w], logits of masks.
            labels: B of int64 [n].
            masks: B of float [n,H,W], true masks.

        Returns:
            For each image the matched (queries, objects), int64 on the host.
        """
        costs = []
        for i, truth in enumerate(masks):
            size = (maps.shape[2], maps.shape[3])
            small = resize(truth, size=size, mode="nearest") if len(truth) else truth.new_zeros(0, *size)
            found, true = maps[i].flatten(1), small.flatten(1)
            dice = mask_costs(found, true)[1]
            focal = focal_costs(found, true)
            costs.append(self.category * class_costs(classes[i], labels[i]) + self.mask * focal + self.dice * dice)
        return hungarian(costs)
