"""Bilinear and nearest-neighbour resizing of maps and masks."""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor


def resize(
    x: Tensor,
    *,
    like: Tensor | None = None,
    size: Sequence[int] | None = None,
    align_corners: bool = False,
    mode: str = "bilinear",
) -> Tensor:
    """Resizes maps to a given size.

    Args:
        x: float [B,C,h,w], or float [n,h,w] of masks.
        like: a map whose height and width are taken. Give this or `size`.
        size: height and width in pixels.
        align_corners: as in torch.nn.functional.interpolate: whether the centers of the corner pixels stay in place
            (True) or the corners of the image (False). No effect for "nearest".
        mode: "bilinear" or "nearest".

    Returns:
        float [B,C,H,W] or [n,H,W]; `x` itself where it has that size already.
    """
    if like is not None:
        size = like.shape[-2:]
    assert size is not None, "resize needs `like` or `size`"
    height_width = tuple(size)
    if tuple(x.shape[-2:]) == height_width:
        return x
    corners = None if mode == "nearest" else align_corners
    if x.dim() == 3:
        return F.interpolate(x[:, None], height_width, mode=mode, align_corners=corners)[:, 0]
    return F.interpolate(x, height_width, mode=mode, align_corners=corners)


def aligned_bilinear(maps: Tensor, factor: int) -> Tensor:
    """Enlarges maps so that the value at position y goes to position factor y + factor // 2 (CondInst's upsampling).

    The last row and column are repeated before the interpolation, the first ones after it.

    Args:
        maps: float [B,C,h,w].
        factor: how many times larger the result is; 1 returns the maps unchanged.

    Returns:
        float [B,C,factor h,factor w].
    """
    if factor == 1:
        return maps
    height, width = maps.shape[2:]
    padded = F.pad(maps, [0, 1, 0, 1], mode="replicate")
    size = (factor * height + 1, factor * width + 1)
    large = F.interpolate(padded, size=size, mode="bilinear", align_corners=True)
    large = F.pad(large, [factor // 2, 0, factor // 2, 0], mode="replicate")
    return large[:, :, : size[0] - 1, : size[1] - 1]
