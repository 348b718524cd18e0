"""How much better a mask fits a map of probabilities once it is moved, grown or shrunk. H W map."""

from typing import NamedTuple

import cv2
import numpy as np

LONGEST = 96
"""Pixels of the longer side at which masks are compared; larger ones are reduced to it."""


class Alignment(NamedTuple):
    """The best change of a mask.

    Attributes:
        before: soft IoU of the mask with the map.
        moved: of the mask moved by the best step.
        sized: of the mask grown or shrunk by the best distance.
        growth: that distance as a share of the root of the area, below 0 where it shrinks.
    """

    before: float
    moved: float
    sized: float
    growth: float


def align(mask: np.ndarray, seen: np.ndarray, reach: float) -> Alignment:
    """Compares a mask with a map, and with the map all masks moved in any direction, and all grown or shrunk.

    Soft IoU of a mask M with a map Q: sum of Q in M / (area of M + sum of Q outside of M).

    Args:
        mask: bool [H,W], with a margin of `reach` where the image goes on.
        seen: float32 [H,W] in 0..1, the probability of the mask's class.
        reach: largest move and largest growth in pixels.
    """
    scale = min(1.0, LONGEST / max(mask.shape))
    if scale < 1:
        size = (max(1, round(mask.shape[1] * scale)), max(1, round(mask.shape[0] * scale)))
        mask = cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_AREA) >= 0.5
        seen = cv2.resize(seen, size, interpolation=cv2.INTER_AREA)
        reach = reach * scale
    area, total = int(mask.sum()), float(seen.sum())
    if not area or total < 1e-6:
        return Alignment(0.0, 0.0, 0.0, 0.0)
    before = float(seen[mask].sum())
    steps = max(1, round(reach))
    # the sum of the map in the moved mask, for each of (2 steps + 1)^2 moves at once
    padded = np.pad(seen.astype(np.float32), steps)
    inside = cv2.matchTemplate(padded, mask.astype(np.float32), cv2.TM_CCORR)
    across = np.arange(-steps, steps + 1) ** 2
    sums = inside[(across[:, None] + across) <= reach**2 + 1e-6]
    moved = float(sums.max(initial=before))
    # distance to the outline, below 0 within the mask: the masks {distance <= r} are the grown and shrunk ones
    inward, outward = (
        cv2.distanceTransform(part.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE) for part in (mask, ~mask)
    )
    distance = np.where(mask, 1 - inward, outward)
    ring = np.clip(np.rint(distance).astype(int) + steps, 0, 2 * steps + 1).ravel()
    areas = np.cumsum(np.bincount(ring, minlength=2 * steps + 2))[:-1]
    sums = np.cumsum(np.bincount(ring, seen.ravel(), minlength=2 * steps + 2))[:-1]
    ious = sums / np.maximum(areas + total - sums, 1e-6)
    best = int(ious.argmax())
    return Alignment(
        before / (area + total - before), moved / (area + total - moved), float(ious[best]), (best - steps) / area**0.5
    )
