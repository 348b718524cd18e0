"""Distance transforms of masks: how far each pixel of a mask lies from the nearest pixel outside it.

Pixels beyond the image count as outside: a mask that covers the image has distance 1 along the image's border. On the
CPU OpenCV computes each mask; on other devices tensor operations do, exactly and without waiting for the device.
B batch, H W image.
"""

import cv2
import numpy as np
import torch
from torch import Tensor

CHUNK = 2**26
"""Elements of the largest intermediate of the exact transform by tensors: 256 MB of float32."""


def distance_inside(mask: np.ndarray, mask_size: int = cv2.DIST_MASK_PRECISE) -> np.ndarray:
    """Distance of each pixel of one mask to the nearest pixel outside, computed by OpenCV.

    Args:
        mask: bool [H,W].
        mask_size: OpenCV's algorithm. `cv2.DIST_MASK_PRECISE` is exact, `cv2.DIST_MASK_5` follows the steps of a 5 x 5
            neighbourhood.

    Returns:
        float32 [H,W] in pixels, 0 outside the mask. The last bit of the roots may differ between calls; the squares
        of exact distances are whole numbers.
    """
    document = cv2.copyMakeBorder(mask.view(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    return cv2.distanceTransform(document, cv2.DIST_L2, mask_size)[1:-1, 1:-1]


def edt_5x5(masks: Tensor) -> Tensor:
    """Distance transform by which RITM's training clicks are defined.

    On the CPU the distance is measured along the steps of a 5 x 5 neighbourhood (Borgefors 1986, within 2 % of the
    Euclidean distance), as the published code does. On other devices it is exact.

    Args:
        masks: bool [B,H,W] on any device.

    Returns:
        float32 [B,H,W]: distance in pixels to the nearest pixel outside the mask, 0 where the mask is False.
    """
    return _by_opencv(masks, cv2.DIST_MASK_5) if masks.device.type == "cpu" else exact_distance(masks)


def _by_opencv(masks: Tensor, mask_size: int) -> Tensor:
    distances = np.zeros(masks.shape, np.float32)
    for mask, distance in zip(masks.numpy(), distances):
        rows = np.flatnonzero(mask.any(axis=1))
        if not len(rows):
            continue
        columns = np.flatnonzero(mask.any(axis=0))
        # Outside the box around the mask all distances are 0; those inside depend on nothing further off.
        box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
        distance[box] = distance_inside(mask[box], mask_size)
    return torch.from_numpy(distances)


def exact_distance(masks: Tensor) -> Tensor:
    """Exact Euclidean distance transform by tensor operations, the same values as `distance_inside`.

    Separable: distances along the longer axis by running maxima, then for each pixel the least sum of squares over its
    line of the shorter axis (Saito and Toriwaki, Pattern Recognition 1994), whole lines at a time.

    Args:
        masks: bool [B,H,W] on any device.

    Returns:
        float32 [B,H,W]: distance in pixels to the nearest pixel outside the mask, 0 where the mask is False.
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
        chunk = slice(start, start + max(CHUNK // (height * height), 1))
        least[chunk] = torch.minimum(least[chunk], (lines[chunk, None, :] + square).amin(dim=2))
    return least.view(batch, width, height).transpose(1, 2).sqrt().contiguous() * masks


def _distance_in_line(masks: Tensor) -> Tensor:
    """Distance to the nearest False of the same row, float32 [B,H,W]; positions beyond the image count as False."""
    width = masks.shape[2]
    position = torch.arange(width, device=masks.device, dtype=torch.float32).expand(masks.shape)
    before = torch.where(masks, -1.0, position).cummax(dim=2).values
    after = torch.where(masks, float(width), position).flip(2).cummin(dim=2).values.flip(2)
    return torch.minimum(position - before, after - position)
