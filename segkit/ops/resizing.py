"""Resizing of maps and masks."""

import torch.nn.functional as F
from torch import Tensor


def resize(
    x: Tensor,
    *,
    like: Tensor | None = None,
    size: tuple[int, int] | None = None,
    align_corners: bool = False,
    mode: str = "bilinear",
) -> Tensor:
    """Resizes maps.

    Args:
        x: float [B,C,h,w], or [n,h,w] of masks.
        like: a map whose height and width are taken; or
        size: height and width.
        mode: "bilinear" or "nearest".

    Returns:
        float [B,C,H,W] or [n,H,W]; x itself where it has that size already.
    """
    height_width = tuple(size if like is None else like.shape[-2:])
    if tuple(x.shape[-2:]) == height_width:
        return x
    corners = None if mode == "nearest" else align_corners
    if x.dim() == 3:
        return F.interpolate(x[:, None], height_width, mode=mode, align_corners=corners)[:, 0]
    return F.interpolate(x, height_width, mode=mode, align_corners=corners)


def aligned_bilinear(maps: Tensor, factor: int) -> Tensor:
    """maps: float [B,C,h,w] -> float [B,C,factor h,factor w]; value y becomes that at factor y + factor // 2.

    The last row and column are repeated before, the first ones after the interpolation.
    """
    if factor == 1:
        return maps
    height, width = maps.shape[2:]
    padded = F.pad(maps, [0, 1, 0, 1], mode="replicate")
    size = (factor * height + 1, factor * width + 1)
    large = F.interpolate(padded, size=size, mode="bilinear", align_corners=True)
    large = F.pad(large, [factor // 2, 0, factor // 2, 0], mode="replicate")
    return large[:, :, : size[0] - 1, : size[1] - 1]
