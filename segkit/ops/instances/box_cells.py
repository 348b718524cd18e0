"""RoIAlign: samples feature maps and masks in boxes. He et al., Mask R-CNN, ICCV 2017, section 3,
https://arxiv.org/abs/1703.06870.

B batch, C channels, n boxes, s cells per side, H W image, h w features.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from segkit.ops.averaging import full_precision

SAMPLES = 2
"""Samples per side of a cell."""


def box_features(maps: Tensor, boxes: Sequence[Tensor], size: tuple[int, int], *, side: int = 7) -> Tensor:
    """RoIAlign: samples a feature map in each box on an s x s grid, the mean of 2 x 2 bilinear samples per cell.

    Args:
        maps: float [B,C,h,w], each of a whole image.
        boxes: B of float [n_i,4] x0, y0, x1, y1 in pixels of the image.
        size: (H, W) of the image.
        side: s.

    Returns:
        float32 [n,C,s,s], in the order of the images.
    """
    features = []
    for image_map, corners in zip(full_precision(maps), boxes):
        grid = _grid(corners, size, side).flatten(0, 1)  # the boxes of an image are sampled at once
        samples = _sampled(image_map.unsqueeze(0), grid.unsqueeze(0))[0]
        features.append(samples.unflatten(1, (len(corners), side * SAMPLES)).transpose(0, 1))
    return F.avg_pool2d(torch.cat(features), SAMPLES)


def box_cells(masks: Tensor, boxes: Tensor, size: tuple[int, int], *, side: int = 7) -> Tensor:
    """RoIAlign of masks, one box in each.

    Args:
        masks: float [n,h,w], each of a whole image.
        boxes: float [n,4] x0, y0, x1, y1 in pixels of the image.
        size: (H, W) of the image.
        side: s.

    Returns:
        float32 [n,s,s].
    """
    sampled = _sampled(full_precision(masks).unsqueeze(1), _grid(boxes, size, side))
    return F.avg_pool2d(sampled, SAMPLES)[:, 0]


def _grid(boxes: Tensor, size: tuple[int, int], side: int) -> Tensor:
    """Returns the positions of the samples, float32 [n,2 s,2 s,2], x and y in -1..1 from edge to edge of the image."""
    number = side * SAMPLES
    steps = (torch.arange(number, device=boxes.device) + 0.5) / number
    low, high = boxes[:, :2].float(), boxes[:, 2:].float()
    positions = low.unsqueeze(1) + steps.unsqueeze(1) * (high - low).unsqueeze(1)  # [n,2 s,2]
    positions = 2 * positions / torch.tensor([size[1], size[0]], device=boxes.device) - 1
    x, y = positions.unbind(2)
    return torch.stack([x.unsqueeze(1).expand(-1, number, -1), y.unsqueeze(2).expand(-1, -1, number)], 3)


def _sampled(maps: Tensor, grid: Tensor) -> Tensor:
    return F.grid_sample(maps, grid, mode="bilinear", padding_mode="border", align_corners=False)
