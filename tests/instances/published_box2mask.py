"""The images of the published numbers of Box2Mask's loss."""

import numpy as np
import torch
from torch import Tensor

from segkit.ops.instances.box_masks import box_masks

SIZE, VALID = (128, 160), ((128, 160), (100, 140))


def box_masks_of(known: dict[str, Tensor]) -> list[Tensor]:
    """-> for both images uint8 [n,128,160], boxes drawn on the image and padded with 0."""
    masks = []
    for i, valid in enumerate(VALID):
        drawn = box_masks(known[f"gt_bboxes{i}"].numpy(), valid)
        padded = np.zeros((len(drawn), *SIZE), np.uint8)
        padded[:, : valid[0], : valid[1]] = drawn
        masks.append(torch.from_numpy(padded))
    return masks
