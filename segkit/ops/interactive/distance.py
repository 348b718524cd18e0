"""Distances of mask pixels to the nearest pixel outside, for a whole batch. B batch, H W image.

The outside of the image is not in the mask: a mask that covers the image has distance 1 along its border. On the CPU
OpenCV computes each mask; elsewhere tensor operations do, exactly and without waiting for the device.
"""

import cv2
import numpy as np
import torch
from torch import Tensor

CHUNK = 2**26
"""Elements of the largest intermediate of the exact transform by tensors: 256 MB of float32."""


def edt(masks: Tensor) -> Tensor:
    """masks: bool [B,H,W] -> float32 [B,H,W]: exact Euclidean distance in pixels, 0 where the mask is False."""
    return _by_opencv(masks, cv2.DIST_MASK_PRECISE) if masks.device.type == "cpu" else exact_distance(masks)


def edt_5x5(masks: Tensor) -> Tensor:
    """As edt; on the CPU the distance along steps of a 5x5 neighbourhood (Borgefors 1986, within 2 % of Euclid), which
    is what RITM's training clicks are defined by. Other devices give the exact distance."""
    return _by_opencv(masks, cv2.DIST_MASK_5) if masks.device.type == "cpu" else exact_distance(masks)


def _by_opencv(masks: Tensor, how: int) -> Tensor:
    distance = np.zeros(masks.shape, np.float32)
    for mask, out in zip(masks.numpy(), distance):
        rows = np.flatnonzero(mask.any(axis=1))
        if not len(rows):
            continue
        columns = np.flatnonzero(mask.any(axis=0))
        # Outside the box around the mask all is 0, inside it nothing depends on what lies further off.
        box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
        framed = cv2.copyMakeBorder(mask[box].view(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
        out[box] = cv2.distanceTransform(framed, cv2.DIST_L2, how)[1:-1, 1:-1]
    return torch.from_numpy(distance)


def exact_distance(masks: Tensor) -> Tensor:
    """masks: bool [B,H,W] on any device -> float32 [B,H,W], as edt.

    Separable: distances along the longer axis by running maxima, then for each pixel the least sum of squares over its
    line of the shorter axis (Saito and Toriwaki, Pattern Recognition 1994), whole lines at a time.
    """
    if masks.shape[1] > masks.shape[2]:
        return exact_distance(masks.transpose(1, 2)).transpose(1, 2).contiguous()
    batch, height, width = masks.shape
    along = _distance_in_line(masks)
    lines = along.square().transpose(1, 2).reshape(-1, height)
    steps = torch.arange(height, device=masks.device, dtype=torch.float32)
    square = (steps[:, None] - steps).square()
    # Above the first and below the last row lies the outside, at 1 + y and H - y.
    least = torch.minimum(steps + 1, height - steps).square().expand_as(lines).clone()
    for start in range(0, len(lines), max(CHUNK // (height * height), 1)):
        part = slice(start, start + max(CHUNK // (height * height), 1))
        least[part] = torch.minimum(least[part], (lines[part, None, :] + square).amin(dim=2))
    return least.view(batch, width, height).transpose(1, 2).sqrt().contiguous() * masks


def _distance_in_line(masks: Tensor) -> Tensor:
    """masks: bool [B,H,W] -> float32 [B,H,W]: distance to the nearest False of the same row, the outside included."""
    width = masks.shape[2]
    place = torch.arange(width, device=masks.device, dtype=torch.float32).expand(masks.shape)
    before = torch.where(masks, -1.0, place).cummax(dim=2).values
    after = torch.where(masks, float(width), place).flip(2).cummin(dim=2).values.flip(2)
    return torch.minimum(place - before, after - place)
