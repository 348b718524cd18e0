"""SOLOv2: cells that learn classes and masks from masks. Wang et al., NeurIPS 2020, https://arxiv.org/abs/2003.10152.
B images, K classes, D channels, S grid of a level, n objects, H W image, h w masks of a level."""

from collections.abc import Sequence

import torch
from torch import Tensor

from segkit.losses.base import Loss
from segkit.ops.averaging import zero_of
from segkit.ops.instances.box_projection import vector_dice
from segkit.ops.instances.cell_losses import box_targets, focal_of_cells
from segkit.ops.instances.cell_masks import cell_masks
from segkit.ops.instances.grid_assignment import RANGES, assign_cells, object_shapes
from segkit.registry import LOSSES

DICE_EPS = 0.002
"""0.001 on each of the two sums of squares, as in the authors' code."""


@LOSSES.register
class SOLOv2Masks(Loss):
    """focal(categories) + mean over positives of Dice(mask) (eq. 8 of SOLO, section 3.3 of SOLOv2).

    A SOLO head's row: on=["categories", "kernels", "mask_features", "image"], target=["boxes", "labels", "masks"],
    at="native", with train.dataset.boxes_only=False. The head has no level features: level_features=0. dice: weight;
    ranges, sigma: of the assignment of cells; strides: of each level's masks, 4 for all in SOLOv2.
    """

    row = dict(
        on=["categories", "kernels", "mask_features", "image"],
        target=["boxes", "labels", "masks"],
        at="native",
    )

    supervision = "masks"

    def __init__(
        self,
        dice: float = 3.0,
        ranges: Sequence[tuple[float, float]] = RANGES,
        strides: Sequence[int] = (4, 4, 4, 4, 4),
        sigma: float = 0.2,
    ):
        super().__init__()
        self.dice, self.ranges, self.strides, self.sigma = dice, tuple(ranges), tuple(strides), sigma

    def forward(
        self,
        categories: list[Tensor],
        kernels: list[Tensor],
        mask_features: Tensor,
        image: Tensor,
        boxes: list[Tensor],
        labels: list[Tensor],
        masks: list[Tensor],
    ) -> dict[str, Tensor]:
        """categories: float [B,K,S,S] of each level, logits; kernels: float [B,D,S,S] of each; mask_features: float
        [B,D,H/4,W/4]; image: float [B,3,H,W], of which the size is read; boxes: B of float [n,4]; labels: B of int64
        [n]; masks: B of uint8 [n,H,W] -> dict of float32 []: category, dice; without a positive dice is 0 with a
        graph."""
        shapes, size = object_shapes(boxes, masks), tuple(image.shape[2:])
        dices, labelled = [], []
        for level, kernel, bounds, stride in zip(categories, kernels, self.ranges, self.strides):
            cells = [assign_cells(one, size, grid=level.shape[2], bounds=bounds, sigma=self.sigma) for one in shapes]
            labelled.append(focal_of_cells(level, cells, labels))
            if not any(len(one.cells) for one in cells):
                continue
            mask_size = (size[0] // stride, size[1] // stride)
            found = cell_masks(kernel, mask_features, cells, size=mask_size).sigmoid()
            known = torch.cat([box_targets(mask, one, stride, mask_size) for mask, one in zip(masks, cells)])
            dices.append(vector_dice(found.flatten(1), known.flatten(1), eps=DICE_EPS))
        number = sum(len(values) for values in dices)
        category = torch.stack(labelled).sum() / (number + 1)
        if not number:
            return {"category": category, "dice": zero_of(mask_features, *kernels)}
        return {"category": category, "dice": self.dice * torch.cat(dices).mean()}
