"""Enlargement by a whole factor in which the corners of both grids coincide, as CondInst does it.

Tian et al., CondInst, ECCV 2020, section 3.2, https://arxiv.org/abs/2003.05664.
"""

import torch.nn.functional as F
from torch import Tensor


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
