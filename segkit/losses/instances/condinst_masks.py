"""CondInst: dynamic mask heads of FCOS locations, trained with masks.

Tian et al., ECCV 2020, https://arxiv.org/abs/2003.05664. B images, n objects of an image, m predicted masks in the
order of their images, H W image, h w masks.
"""

import torch
from torch import Tensor

from segkit.constraints.named import NonNegativeFloat, PositiveInt
from segkit.losses.base import OBJECTS_VARY, Loss
from segkit.ops.averaging import full_precision
from segkit.ops.instances.box_projection import vector_dice
from segkit.registry import LOSSES


@LOSSES.register
class CondInstMasks(Loss):
    """CondInst's mask loss: mean Dice loss of the masks of sampled locations.

    Eq. 3 of the paper. Stands beside a row FCOS, which learns classes and boxes, and needs
    train.dataset.boxes_only=False. True masks are sampled at the middle pixel of each block, as the authors do. With
    target=["masks", "mask_quality"] and boxes_only="mixed" each mask counts by its quality, and those of quality 0 not
    at all.

    Args:
        dice: weight.
        stride: of the masks.
    """

    supervision = "masks"
    row = dict(on=["mask_logits", "objects"], target="masks", at="native")
    no_compile = OBJECTS_VARY

    def __init__(self, dice: NonNegativeFloat = 1.0, stride: PositiveInt = 4):
        super().__init__()
        self.dice, self.stride = dice, stride

    def forward(
        self,
        mask_logits: Tensor,
        objects: list[Tensor],
        masks: list[Tensor],
        mask_quality: list[Tensor] | None = None,
    ) -> Tensor:
        """Computes the loss.

        Args:
            mask_logits: float [m,H/stride,W/stride].
            objects: B of int64, for each mask of an image the index of the object it must become.
            masks: B of uint8 [n,H,W].
            mask_quality: B of float [n] in 0..1; None is 1 for all.

        Returns:
            float32 [], 0 with a graph where there is no mask.
        """
        first = self.stride // 2
        known = torch.cat(
            [
                mask[index.to(mask.device), first :: self.stride, first :: self.stride]
                for mask, index in zip(masks, objects)
            ]
        )
        found = full_precision(mask_logits).sigmoid()
        values = vector_dice(found.flatten(1), known.to(found.dtype).flatten(1)) if len(found) else found.sum((1, 2))
        if mask_quality is None:
            return self.dice * values.sum() / max(len(values), 1)
        quality = torch.cat([of_image[index.to(of_image.device)] for of_image, index in zip(mask_quality, objects)])
        quality = quality.to(found.device).float()
        return self.dice * (quality * values).sum() / (quality > 0).sum().clamp_min(1)
