"""CondInst: networks of places that learn masks from masks. Tian et al., ECCV 2020, https://arxiv.org/abs/2003.05664.
B images, n objects of an image, m masks in the order of their images, H W image, h w masks."""

import torch
from torch import Tensor

from segkit.losses.base import Loss
from segkit.ops.averaging import full_precision
from segkit.ops.instances.box_projection import vector_dice
from segkit.registry import LOSSES


@LOSSES.register
class CondInstMasks(Loss):
    """Mean Dice of the masks of chosen places (eq. 3 of the paper), beside a row FCOS, which learns classes and boxes.

    A CondInst head's row: on=["mask_logits", "objects"], target="masks", at="native", with
    train.dataset.boxes_only=False. dice: weight; stride: of the masks; true masks are looked at in the middle pixel of
    each block, as the authors do.
    """

    row = dict(on=["mask_logits", "objects"], target="masks", at="native")

    supervision = "masks"

    def __init__(self, dice: float = 1.0, stride: int = 4):
        super().__init__()
        self.dice, self.stride = dice, stride

    def forward(self, mask_logits: Tensor, objects: list[Tensor], masks: list[Tensor]) -> Tensor:
        """mask_logits: float [m,H/stride,W/stride]; objects: B of int64, for each mask of an image the object that it
        is to be; masks: B of uint8 [n,H,W] -> float32 [], 0 with a graph without a mask."""
        first = self.stride // 2
        known = torch.cat(
            [mask[one.to(mask.device), first :: self.stride, first :: self.stride] for mask, one in zip(masks, objects)]
        )
        found = full_precision(mask_logits).sigmoid()
        values = vector_dice(found.flatten(1), known.to(found.dtype).flatten(1)) if len(found) else found.sum((1, 2))
        return self.dice * values.sum() / max(len(values), 1)
