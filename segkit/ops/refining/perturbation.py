"""Coarse masks made of true ones: what CascadePSP is trained to refine.

Cheng et al., CVPR 2020, https://arxiv.org/abs/2005.02551, section 3.4, in the form of the published code. H W image.
"""

import math

import cv2
import numpy as np

SHARE = 0.1
"""Of a contour's points that are cut out in one run; of the runs among which it is drawn; of the points that stay."""

SHORTEST = 10
"""Points of the shortest contour that is kept."""

ROUNDS, RECTANGLES = 250, 4
"""Rounds at most, and rectangles that change in each."""

SINGLE_PIXEL = 0.25
"""Probability that the center of a rectangle is set before it grows or shrinks, which makes holes and islands."""

SMALLEST, LARGEST = 3, 9
"""Side of the structuring elements in pixels."""


def coarse_mask(mask: np.ndarray, iou: float, rng: np.random.Generator) -> np.ndarray:
    """Perturbs a mask: coarser polygons instead of its outlines, then random growth and shrinkage in rectangles.

    The second part goes on until the intersection over union with the polygons falls below `iou`. So this is where it
    stops and no bound: with the mask itself the result has less, by .06 to .12 in the median for targets of .8 to 1.

    Args:
        mask: bool [H,W].
        iou: intersection over union in 0..1 at which it stops.
        rng: source of randomness.

    Returns:
        bool [H,W].
    """
    return grown_and_shrunk(coarse_outlines(mask, rng), iou, rng)


def coarse_outlines(mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draws a mask again from a tenth of the points of its outlines, less a run of them that is cut out.

    Args:
        mask: bool [H,W].
        rng: source of randomness.

    Returns:
        bool [H,W]; the mask itself where no outline is long enough.
    """
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_TREE, cv2.CHAIN_APPROX_NONE)
    polygons = [_thinned(contour[:, 0], rng) for contour in contours if len(contour) >= SHORTEST]
    polygons = [polygon for polygon in polygons if len(polygon)]
    if not polygons:
        return mask.astype(bool)
    canvas = np.zeros(mask.shape, np.uint8)
    # all at once, so that outlines inside of others are holes
    cv2.drawContours(canvas, polygons, -1, (1,), cv2.FILLED)
    return canvas.astype(bool)


def _thinned(points: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A random tenth of the points [n,2] of an outline, in their order, without a run whose ends lie close together."""
    number = len(points)
    cut = int(number * SHARE)
    gaps = ((points[: number - cut] - points[cut:]) ** 2).sum(1)
    nearest = np.argsort(gaps, kind="stable")[: math.ceil(SHARE * len(gaps))]
    start = int(nearest[int(rng.integers(len(nearest)))])
    points = np.concatenate([points[:start], points[start + cut :]])
    kept = rng.choice(len(points), int(len(points) * SHARE), replace=False)
    return points[np.sort(kept)]


def grown_and_shrunk(mask: np.ndarray, iou: float, rng: np.random.Generator) -> np.ndarray:
    """Dilates or erodes a mask in random rectangles until its intersection over union with itself falls below `iou`.

    Args:
        mask: bool [H,W].
        iou: in 0..1.
        rng: source of randomness.

    Returns:
        bool [H,W]; the mask itself where a side is below 3 pixels.
    """
    height, width = mask.shape
    if height <= 2 or width <= 2:
        return mask.astype(bool)
    result = mask.astype(np.uint8)
    for _ in range(ROUNDS):
        for _ in range(RECTANGLES):
            _change_rectangle(result, rng)
        either = np.count_nonzero(result | mask)
        if either and np.count_nonzero(result & mask) / either < iou:
            break
    return result.astype(bool)


def _change_rectangle(mask: np.ndarray, rng: np.random.Generator) -> None:
    """Dilates or erodes a random rectangle of a mask, uint8 [H,W], in place."""
    height, width = mask.shape
    left, top = int(rng.integers(width)), int(rng.integers(height))
    right, bottom = int(rng.integers(left + 1, width + 1)), int(rng.integers(top + 1, height + 1))
    if rng.random() < SINGLE_PIXEL:
        mask[(top + bottom) // 2, (left + right) // 2] = rng.integers(2)
    operation = cv2.dilate if rng.random() < 0.5 else cv2.erode
    part = np.ascontiguousarray(mask[top:bottom, left:right])
    mask[top:bottom, left:right] = operation(part, _element(rng))


def _element(rng: np.random.Generator) -> np.ndarray:
    """A structuring element: a square, a disc, or a disc flattened to half of its height or width."""
    side = int(rng.integers(SMALLEST, LARGEST + 1))
    shape, size = (
        (cv2.MORPH_RECT, (side, side)),
        (cv2.MORPH_ELLIPSE, (side, side)),
        (cv2.MORPH_ELLIPSE, (side, side // 2)),
        (cv2.MORPH_ELLIPSE, (side // 2, side)),
    )[int(rng.integers(4))]
    return cv2.getStructuringElement(shape, size)
