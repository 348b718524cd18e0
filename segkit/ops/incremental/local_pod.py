"""Pooled outputs of a grid's cells. Douillard et al., PLOP, CVPR 2021, https://arxiv.org/abs/2011.11390, section 3.2.

B batch, C channels, h w features.
"""

import torch
from torch import Tensor


def local_pod(features: Tensor, scales: tuple[int, ...] = (1, 2, 4)) -> Tensor:
    """Means of the rows and of the columns of each cell of grids of s x s cells, eq. 4 and 5.

    features: float [B,C,h,w] -> float [B,n]: by scale, by cell, C times the means over the cell's columns, then C times
    those over its rows. A cell is h // s by w // s, what is left over at the right and bottom is in none; a grid finer
    than the map is left out. The authors' cells are squares of w // s, the same for h = w; in maps of another shape
    theirs miss rows, or are empty and NaN.
    """
    pooled = []
    for scale in scales:
        height, width = features.shape[2] // scale, features.shape[3] // scale
        if min(height, width) == 0:
            continue
        cells = features[:, :, : height * scale, : width * scale].unflatten(3, (scale, width))
        cells = cells.unflatten(2, (scale, height))  # [B,C,s,height,s,width]
        rows = cells.mean(5).permute(0, 2, 4, 1, 3).flatten(3)
        columns = cells.mean(3).permute(0, 2, 3, 1, 4).flatten(3)
        pooled.append(torch.cat([rows, columns], 3).flatten(1))
    return torch.cat(pooled, 1)
