"""What a map holds in a box, on a square of cells: the mean of 2 x 2 bilinear samples each (RoIAlign). He et al., Mask
R-CNN, ICCV 2017, section 3, https://arxiv.org/abs/1703.06870. B images, C channels, n boxes, s cells a side, H W image,
h w map."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from segkit.ops.averaging import full_precision

SAMPLES = 2
"""Of a cell, a side."""


def box_features(maps: Tensor, boxes: Sequence[Tensor], size: tuple[int, int], *, side: int = 7) -> Tensor:
    """maps: float [B,C,h,w] of a whole image each; boxes: B of float [n_i,4] x0, y0, x1, y1 in its pixels; size: (H, W)
    -> float32 [n,C,s,s], in the order of the images."""
    features = [
        _sampled(one.unsqueeze(0), _grid(corners, size, side).flatten(0, 1).unsqueeze(0))
        .unflatten(2, (len(corners), side * SAMPLES))[0]
        .transpose(0, 1)
        for one, corners in zip(full_precision(maps), boxes)
    ]
    return F.avg_pool2d(torch.cat(features), SAMPLES)


def box_cells(masks: Tensor, boxes: Tensor, size: tuple[int, int], *, side: int = 7) -> Tensor:
    """masks: float [n,h,w], one for each box; boxes: float [n,4]; size: (H, W) -> float32 [n,s,s]."""
    sampled = _sampled(full_precision(masks).unsqueeze(1), _grid(boxes, size, side))
    return F.avg_pool2d(sampled, SAMPLES)[:, 0]


def _grid(boxes: Tensor, size: tuple[int, int], side: int) -> Tensor:
    """-> float32 [n,2 s,2 s,2], places of the samples, x and y in -1..1 from edge to edge of the image."""
    number = side * SAMPLES
    steps = (torch.arange(number, device=boxes.device) + 0.5) / number
    low, high = boxes[:, :2].float(), boxes[:, 2:].float()
    places = low.unsqueeze(1) + steps.unsqueeze(1) * (high - low).unsqueeze(1)  # [n,2 s,2]
    places = 2 * places / torch.tensor([size[1], size[0]], device=boxes.device) - 1
    x, y = places.unbind(2)
    return torch.stack([x.unsqueeze(1).expand(-1, number, -1), y.unsqueeze(2).expand(-1, -1, number)], 3)


def _sampled(maps: Tensor, grid: Tensor) -> Tensor:
    return F.grid_sample(maps, grid, mode="bilinear", padding_mode="border", align_corners=False)
