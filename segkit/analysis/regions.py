"""Where in an image labels are right: near outlines and far from them, in small regions and in large ones.

K classes, H W image.
"""

import cv2
import numpy as np

from segkit.analysis.label_table import counts_of

BANDS = (2, 5, 10, 20)
"""Upper ends of the bands around outlines in pixels; a last band holds what lies farther away."""

BAND_NAMES = tuple(f"{low} to {high} px" for low, high in zip((0, *BANDS), BANDS)) + (f"above {BANDS[-1]} px",)

SIZES = (32**2, 96**2)
"""Areas in pixels from which on a region is medium and large, as COCO has them."""

SIZE_NAMES = ("small", "medium", "large")


def outline_distance(truth: np.ndarray, ignore: int | None) -> np.ndarray:
    """Returns how far each pixel lies from the nearest outline, float32 [H,W]; infinite without an outline.

    The two pixels on either side of an outline have distance 1, and every other pixel 1 more than its Euclidean
    distance to the nearest of those. An edge of ignored pixels is no outline, and neither is the frame of the image.

    Args:
        truth: labels [H,W].
        ignore: value of pixels that are not scored, None for none.
    """
    is_edge = np.zeros(truth.shape, bool)
    known = np.ones(truth.shape, bool) if ignore is None else truth != ignore
    for axis in (0, 1):
        before = tuple(slice(None, -1) if k == axis else slice(None) for k in range(2))
        after = tuple(slice(1, None) if k == axis else slice(None) for k in range(2))
        differs = (truth[before] != truth[after]) & known[before] & known[after]
        is_edge[before] |= differs
        is_edge[after] |= differs
    if not is_edge.any():
        return np.full(truth.shape, np.inf, np.float32)
    return 1 + cv2.distanceTransform((~is_edge).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)


def band_counts(truth: np.ndarray, labels: np.ndarray, num_classes: int, ignore: int | None) -> np.ndarray:
    """Counts the pixels of an image by class and by distance from the true outlines.

    Args:
        truth: labels [H,W] in 0..K-1, or `ignore`.
        labels: predicted ones [H,W] in 0..K-1.
        num_classes: K.
        ignore: value of pixels that are not scored, None for none.

    Returns:
        int64 [bands,3,K]: right, true and predicted pixels of each band of BAND_NAMES.
    """
    band = np.searchsorted(np.array(BANDS, np.float32), outline_distance(truth, ignore), side="left")
    known = np.ones(truth.shape, bool) if ignore is None else truth != ignore
    code = (band * num_classes + truth.astype(np.int64)) * num_classes + labels
    bins = len(BAND_NAMES) * num_classes**2
    matrices = np.bincount(code[known], minlength=bins).reshape(-1, num_classes, num_classes)
    return np.stack([counts_of(matrix) for matrix in matrices])


def region_counts(truth: np.ndarray, labels: np.ndarray, ignore: int | None) -> np.ndarray:
    """Counts the connected regions of one class in an image, and what of them is right, by their area.

    Args:
        truth: labels [H,W].
        labels: predicted ones [H,W].
        ignore: value of pixels that are not scored, None for none.

    Returns:
        int64 [3,4] for small, medium and large regions (SIZES): pixels, right pixels, regions, and regions of which at
        least half of the pixels are right. Pixels that touch at a corner are connected.
    """
    found = np.zeros((len(SIZE_NAMES), 4), np.int64)
    is_right = truth == labels
    for value in np.unique(truth):
        if ignore is not None and value == ignore:
            continue
        count, regions = cv2.connectedComponents((truth == value).astype(np.uint8), connectivity=8)
        areas = np.bincount(regions.reshape(-1), minlength=count)[1:]
        right = np.bincount(regions[is_right], minlength=count)[1:]
        size = np.searchsorted(np.array(SIZES), areas, side="right")
        rows = np.stack([areas, right, np.ones_like(areas), 2 * right >= areas], 1)
        np.add.at(found, size, rows)
    return found
