"""The pairwise loss of BoxInst in its plain form."""

import torch
import torch.nn.functional as F
from torch import Tensor

from segkit.ops.instances.color_affinity import NEIGHBOURS


def pairwise_maps(logits: Tensor) -> Tensor:
    """Takes logits [n,h,w]; returns -log(p q + (1 - p)(1 - q)) of each pixel and its neighbours, [n,8,h,w].

    Eq. 6 of the paper, computed in float64; 0 where the neighbour is outside.
    """
    height, width = logits.shape[1:]
    p = F.pad(logits.double().sigmoid(), [2] * 4)
    inside = F.pad(torch.ones(height, width), [2] * 4)
    maps = []
    for y, x in NEIGHBOURS:
        rows, columns = slice(2 + y, 2 + y + height), slice(2 + x, 2 + x + width)
        here, there = p[:, 2:-2, 2:-2], p[:, rows, columns]
        maps.append(-(here * there + (1 - here) * (1 - there)).log() * inside[rows, columns])
    return torch.stack(maps, 1).to(logits.dtype)
