"""Resizing of maps, the one way it is done everywhere."""

import torch.nn.functional as F
from torch import Tensor


def resize(x: Tensor, *, like: Tensor | None = None, size: tuple[int, int] | None = None, align_corners: bool = False,
           mode: str = "bilinear") -> Tensor:  # fmt: skip
    """x: float [B,C,h,w] -> [B,C,H,W], H and W those of `like` or of `size`; mode: "bilinear" or "nearest".

    Returns x itself where it has that size already.
    """
    height_width = tuple(size if like is None else like.shape[-2:])
    if tuple(x.shape[-2:]) == height_width:
        return x
    return F.interpolate(x, height_width, mode=mode, align_corners=None if mode == "nearest" else align_corners)
