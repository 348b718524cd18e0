"""Boxes as masks: the one supervision of box-supervised methods. n boxes x0, y0, x1, y1, H W image."""

import numpy as np
import torch
from torch import Tensor


def box_masks(boxes: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """boxes: float [n,4] in pixels; size: (H, W) -> uint8 [n,H,W], 1 inside.

    Corners are rounded (half to even) and both ends belong to the box, as in BoxLevelSet and Box2Mask; what lies beyond
    the image is cut off.
    """
    x0, y0, x1, y1 = np.round(np.asarray(boxes, np.float64).reshape(-1, 4)).T[:, :, None]
    rows, columns = np.arange(size[0]), np.arange(size[1])
    in_rows, in_columns = (rows >= y0) & (rows <= y1), (columns >= x0) & (columns <= x1)
    return (in_rows[:, :, None] & in_columns[:, None, :]).astype(np.uint8)


def sampled_box_masks(boxes: Tensor, size: tuple[int, int], *, stride: int = 4) -> Tensor:
    """boxes: float [n,4] in pixels; size: (H, W) -> float32 [n,h,w], 1 inside, at the middle pixel of each block.

    Corners lose their fraction and both ends belong to the box, as in BoxInst; pixels stride // 2, stride // 2 +
    stride, ... are looked at.
    """
    x0, y0, x1, y1 = boxes.trunc().T.unsqueeze(2)
    rows, columns = (torch.arange(stride // 2, length, stride, device=boxes.device) for length in size)
    in_rows, in_columns = (rows >= y0) & (rows <= y1), (columns >= x0) & (columns <= x1)
    return (in_rows.unsqueeze(2) & in_columns.unsqueeze(1)).float()
