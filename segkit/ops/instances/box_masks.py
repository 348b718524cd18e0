"""Converts boxes to masks, the supervision of box-supervised methods. n boxes x0, y0, x1, y1, H W image."""

import numpy as np
import torch
from torch import Tensor


def box_masks(boxes: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Fills each box in a mask of the image's size, as BoxLevelSet and Box2Mask do.

    Corners are rounded (half to even), both ends belong to the box, and what lies outside of the image is cut off.

    Args:
        boxes: float [n,4] in pixels.
        size: (H, W).

    Returns:
        uint8 [n,H,W], 1 inside.
    """
    x0, y0, x1, y1 = np.round(np.asarray(boxes, np.float64).reshape(-1, 4)).T[:, :, None]
    rows, columns = np.arange(size[0]), np.arange(size[1])
    in_rows, in_columns = (rows >= y0) & (rows <= y1), (columns >= x0) & (columns <= x1)
    return (in_rows[:, :, None] & in_columns[:, None, :]).astype(np.uint8)


def sampled_box_masks(boxes: Tensor, size: tuple[int, int], *, stride: int = 4) -> Tensor:
    """Fills each box in a mask of a lower resolution, sampled at the middle pixel of each block, as BoxInst does.

    Corners lose their fraction and both ends belong to the box. The pixels stride // 2, stride // 2 + stride, ... are
    sampled.

    Args:
        boxes: float [n,4] in pixels of the image.
        size: (H, W) of the image.
        stride: pixels per side of a block.

    Returns:
        float32 [n,h,w], 1 inside.
    """
    x0, y0, x1, y1 = boxes.trunc().T.unsqueeze(2)
    rows = torch.arange(stride // 2, size[0], stride, device=boxes.device)
    columns = torch.arange(stride // 2, size[1], stride, device=boxes.device)
    in_rows, in_columns = (rows >= y0) & (rows <= y1), (columns >= x0) & (columns <= x1)
    return (in_rows.unsqueeze(2) & in_columns.unsqueeze(1)).float()
