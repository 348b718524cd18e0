"""Local POD: features pooled along rows and columns of the cells of several grids.

Douillard et al., PLOP, CVPR 2021, https://arxiv.org/abs/2011.11390, section 3.2. B batch, C channels, h w features.
"""

import torch
from torch import Tensor


def local_pod(features: Tensor, scales: tuple[int, ...] = (1, 2, 4)) -> Tensor:
    """Averages each row and each column of the cells of grids of s x s cells (eq. 4 and 5 of the paper).

    A cell has h // s rows and w // s columns; rows and columns left over at the bottom and right are in no cell. The
    cells of the authors' code are squares of w // s: the same for h = w, but on other maps they miss rows, or are empty
    and give NaN.

    Args:
        features: float [B,C,h,w].
        scales: the numbers s of cells per side; a grid finer than the map is left out.

    Returns:
        float [B,n], ordered by scale, then by cell; of each cell C times the means over its columns, then C times those
        over its rows.
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
