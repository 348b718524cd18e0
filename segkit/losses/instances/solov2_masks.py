"""SOLOv2: grid cells that learn classes and masks from masks.

Wang et al., NeurIPS 2020, https://arxiv.org/abs/2003.10152. B images, K classes, D channels, S grid of a level, n
objects, H W image, h w masks of a level.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from segkit.constraints.named import NonNegativeFloat, PositiveFloat, PositiveInt
from segkit.losses.base import OBJECTS_VARY, Loss
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
    """SOLOv2 loss: focal loss of classes plus mean Dice loss of the positives' masks.

    Eq. 8 of SOLO, section 3.3 of SOLOv2. For a SOLO head without level features (level_features=0), with
    train.dataset.boxes_only=False. With target=["boxes", "labels", "masks", "mask_quality"] and boxes_only="mixed" each
    mask counts by its quality, and those of quality 0 not at all.

    Args:
        dice: weight of the Dice loss.
        ranges: smallest and largest root of a box's area in pixels, for each level.
        strides: of each level's masks, 4 for all in SOLOv2.
        sigma: share of a box, around its centre, whose cells are positive.
    """

    supervision = "masks"
    row = dict(
        on=["categories", "kernels", "mask_features", "image"],
        target=["boxes", "labels", "masks"],
        at="native",
    )
    no_compile = OBJECTS_VARY

    def __init__(
        self,
        dice: NonNegativeFloat = 3.0,
        ranges: Sequence[tuple[float, float]] = RANGES,
        strides: Sequence[PositiveInt] = (4, 4, 4, 4, 4),
        sigma: PositiveFloat = 0.2,
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
        mask_quality: list[Tensor] | None = None,
    ) -> dict[str, Tensor]:
        """Computes the loss.

        Args:
            categories: logits of the classes, float [B,K,S,S] per level.
            kernels: float [B,D,S,S] per level.
            mask_features: float [B,D,H/4,W/4].
            image: float [B,3,H,W]; only its size is read.
            boxes: B of float [n,4].
            labels: B of int64 [n].
            masks: B of uint8 [n,H,W].
            mask_quality: B of float [n] in 0..1; None is 1 for all.

        Returns:
            float32 [] each: category, dice; dice is 0 with a graph where there is no positive.
        """
        shapes = object_shapes(boxes, masks)
        height, width = image.shape[2:]
        size = (height, width)
        dices, focal, qualities = [], [], []
        for level, kernel, bounds, stride in zip(categories, kernels, self.ranges, self.strides):
            grid = level.shape[2]
            cells = [assign_cells(shape, size, grid=grid, bounds=bounds, sigma=self.sigma) for shape in shapes]
            focal.append(focal_of_cells(level, cells, labels))
            if not any(len(of_image.cells) for of_image in cells):
                continue
            mask_size = (height // stride, width // stride)
            found = cell_masks(kernel, mask_features, cells, size=mask_size).sigmoid()
            known = torch.cat([box_targets(mask, of_image, stride, mask_size) for mask, of_image in zip(masks, cells)])
            dices.append(vector_dice(found.flatten(1), known.flatten(1), eps=DICE_EPS))
            if mask_quality is not None:
                of_cells = [q.to(found)[c.objects.to(found.device)] for q, c in zip(mask_quality, cells)]
                qualities.append(torch.cat(of_cells))
        number = sum(len(values) for values in dices)
        category = torch.stack(focal).sum() / (number + 1)
        if not number:
            return {"category": category, "dice": zero_of(mask_features, *kernels)}
        values = torch.cat(dices)
        if mask_quality is None:
            return {"category": category, "dice": self.dice * values.mean()}
        quality = torch.cat(qualities)
        return {"category": category, "dice": self.dice * (quality * values).sum() / (quality > 0).sum().clamp_min(1)}
