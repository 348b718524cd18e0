"""Targets of a mask classifier from label maps: one mask for each class that a crop holds.

Cheng et al., MaskFormer, NeurIPS 2021, section 3.2, https://arxiv.org/abs/2107.06278. n classes present, H W image.
"""

import torch
from torch import Tensor


def class_masks(label_map: Tensor, ignore: int) -> tuple[Tensor, Tensor]:
    """Splits a label map into the masks of its classes.

    Ignored pixels are in no mask: they are outside of every object, as in the published targets, and not left out of
    the mask losses.

    Args:
        label_map: int [H,W].
        ignore: label of pixels without a class.

    Returns:
        The classes present without `ignore`, int64 [n], increasing, and their masks, uint8 [n,H,W]. A crop that holds
        ignored pixels alone has n = 0.
    """
    labels = torch.unique(label_map)
    labels = labels[labels != ignore].long()
    masks = [(label_map == label).to(torch.uint8) for label in labels]
    return labels, torch.stack(masks) if masks else label_map.new_zeros(0, *label_map.shape, dtype=torch.uint8)
