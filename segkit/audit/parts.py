"""Connected parts of label maps, and what lies around them. H W image, h w the box of a part."""

from typing import NamedTuple

import cv2
import numpy as np

from segkit.audit.findings import Box


class Part(NamedTuple):
    """A connected part of a mask.

    Attributes:
        box: around it.
        mask: bool [h,w], the part within its box.
        area: pixels.
    """

    box: Box
    mask: np.ndarray
    area: int

    def of(self, array: np.ndarray) -> np.ndarray:
        """Returns what lies in the box: [..., h, w] of an array [..., H, W]."""
        x0, y0, x1, y1 = self.box
        return array[..., y0:y1, x0:x1]


def parts_of(mask: np.ndarray, least: int) -> list[Part]:
    """Divides a mask into its connected parts (corners connect too).

    Args:
        mask: bool [H,W].
        least: pixels of the smallest part that is returned.
    """
    _, numbers, table, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    found = []
    for number, (x, y, width, height, area) in enumerate(table.tolist()):
        if number and area >= least:
            box = (x, y, x + width, y + height)
            found.append(Part(box, numbers[y : y + height, x : x + width] == number, area))
    return found


def grown(box: Box, margin: int, size: tuple[int, int]) -> Box:
    """Returns a box with a margin, cut at the border of an image of size (H, W)."""
    x0, y0, x1, y1 = box
    return max(x0 - margin, 0), max(y0 - margin, 0), min(x1 + margin, size[1]), min(y1 + margin, size[0])


def within(part: Part, box: Box) -> np.ndarray:
    """Returns the mask of a part in a box around it, bool."""
    x0, y0, x1, y1 = box
    mask = np.zeros((y1 - y0, x1 - x0), bool)
    mask[part.box[1] - y0 : part.box[3] - y0, part.box[0] - x0 : part.box[2] - x0] = part.mask
    return mask


def surrounding_labels(labels: np.ndarray, part: Part, ignore: int) -> np.ndarray | None:
    """Finds what a label map would say at a part if the part were not there: the nearest label outside of it.

    Args:
        labels: integer [H,W].
        part: of the map.
        ignore: label that says nothing.

    Returns:
        integer [h,w]; None where nothing but ignored pixels is near.
    """
    margin = max(3, int(part.area**0.5) // 2)
    box = grown(part.box, margin, (labels.shape[0], labels.shape[1]))
    around = labels[box[1] : box[3], box[0] : box[2]]
    is_open = within(part, box) | (around == ignore)
    if is_open.all():
        return None
    # each pixel gets the number of the nearest pixel that is not open
    _, numbers = cv2.distanceTransformWithLabels(
        is_open.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )
    of_number = np.zeros(int(numbers.max()) + 1, labels.dtype)
    of_number[numbers[~is_open]] = around[~is_open]
    x0, y0 = part.box[0] - box[0], part.box[1] - box[1]
    return of_number[numbers[y0 : y0 + part.mask.shape[0], x0 : x0 + part.mask.shape[1]]]
