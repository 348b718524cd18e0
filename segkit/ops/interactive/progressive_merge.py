"""Progressive merge: a click changes only the part of an existing mask that it points at.

FocalClick, Chen et al., CVPR 2022, https://arxiv.org/abs/2204.02574, section 3.3. H W image.
"""

import cv2
import numpy as np


def merge_at(mask: np.ndarray, before: np.ndarray, y: int, x: int, *, moves_rest: bool = False) -> np.ndarray:
    """Takes over from a new mask the changed region under a click, and keeps the mask before everywhere else.

    Regions are 8-connected components of the pixels on which both masks differ. A region is removed where the click
    lies on the mask before, and added where it lies beside it.

    Args:
        mask: bool [H,W], predicted after the click.
        before: bool [H,W], the mask before it.
        y, x: pixel of the click.
        moves_rest: whether a click on a pixel that has not changed moves all pixels that have not changed, as in the
            published code; otherwise it changes nothing.

    Returns:
        bool [H,W].
    """
    labels = cv2.connectedComponents((mask ^ before).astype(np.uint8), connectivity=8)[1]
    if labels[y, x] == 0 and not moves_rest:
        return before.copy()
    part = labels == labels[y, x]
    return before & ~part if before[y, x] else before | part
