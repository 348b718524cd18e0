"""Packs the masks of an image into few layers and finds which masks are parts of others.

RITM, Sofiiuk et al., arXiv 2102.06583, section 4.1 (the COCO+LVIS data), and its published code. H W image, L layers,
n masks.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

FULL = 255
"""Objects that a uint8 layer can tell apart."""

PART_OF_BOX, PART_OF_MASK = 0.7, 0.8
"""At least this share of a part's box, and more than this share of its pixels, lies in the whole."""

MaskBox = tuple[int, int, int, int]
"""First and last row, first and last column."""


class _Cut(NamedTuple):
    """A mask without the empty rows and columns around it. A mask without a pixel has area 0 and an empty box."""

    box: MaskBox
    pixels: np.ndarray
    area: int

    @property
    def window(self) -> tuple[slice, slice]:
        """Position of the cut in the image."""
        top, bottom, left, right = self.box
        return slice(top, bottom + 1), slice(left, right + 1)


def _cut(mask: np.ndarray) -> _Cut:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return _Cut((0, -1, 0, -1), mask[:0, :0], 0)
    box = int(rows[0]), int(rows[-1]), int(columns[0]), int(columns[-1])
    pixels = mask[box[0] : box[1] + 1, box[2] : box[3] + 1]
    return _Cut(box, pixels, int(np.count_nonzero(pixels)))


def _by_area(cuts: Sequence[_Cut]) -> list[int]:
    """Indices, the largest first; of equal ones the last first, as in the published files."""
    return sorted(range(len(cuts)), key=lambda index: cuts[index].area)[::-1]


def pack_masks(masks: Sequence[np.ndarray]) -> tuple[list[np.ndarray], list[tuple[int, int]]]:
    """Packs masks into layers.

    From the largest to the smallest, a mask goes to the first layer in which it covers no other and which holds fewer
    than 255.

    Args:
        masks: bool [H,W] each, overlapping or not.

    Returns:
        Layers, uint8 [H,W] each (none without masks), and the (layer, value) of each mask.
    """
    cuts = [_cut(mask) for mask in masks]
    layers: list[np.ndarray] = []
    used: list[int] = []
    slots = [(0, 0)] * len(masks)
    for index in _by_area(cuts):
        cut = cuts[index]
        target = len(layers)
        for number, layer in enumerate(layers):
            if used[number] < FULL and not (cut.area and layer[cut.window][cut.pixels].any()):
                target = number
                break
        if target == len(layers):
            layers.append(np.zeros(masks[index].shape, np.uint8))
            used.append(0)
        used[target] += 1
        layers[target][cut.window][cut.pixels] = used[target]
        slots[index] = target, used[target]
    return layers, slots


def hierarchy(masks: Sequence[np.ndarray]) -> dict[int, dict | None]:
    """Finds which masks are parts of others.

    A mask is part of a larger one that holds at least .7 of its box and more than .8 of its pixels. It is attached to
    the deepest such mask found in the family of the largest.

    Args:
        masks: bool [H,W] each.

    Returns:
        For each index dict(children=[...], parent=index or None, node_level=depth), or None for a mask that is neither
        part nor whole.
    """
    cuts = [_cut(mask) for mask in masks]
    order = _by_area(cuts)
    children: list[list[int]] = [[] for _ in masks]
    parents: list[int | None] = [None] * len(masks)
    levels = [0] * len(masks)

    def deepest(root: int, part: int) -> int | None:
        for child in children[root]:
            if cuts[child].area >= cuts[part].area:
                found = deepest(child, part)
                if found is not None:
                    return found
        return root if _is_part(cuts[part], cuts[root]) else None

    for rank, whole in enumerate(order):
        for part in order[rank + 1 :]:
            if parents[part] is None and _is_part(cuts[part], cuts[whole]):
                parent = deepest(whole, part)
                assert parent is not None, f"mask {part} is part of {whole} but of none of its family"
                children[parent].append(part)
                parents[part], levels[part] = parent, levels[parent] + 1
    return {
        index: dict(children=children[index], parent=parents[index], node_level=levels[index])
        if children[index] or parents[index] is not None
        else None
        for index in range(len(masks))
    }


def _is_part(part: _Cut, whole: _Cut) -> bool:
    if not part.area or not whole.area:
        return False
    sides = [min(part.box[i + 1], whole.box[i + 1]) - max(part.box[i], whole.box[i]) + 1 for i in (0, 2)]
    if min(sides) <= 0 or sides[0] * sides[1] < PART_OF_BOX * part.pixels.size:
        return False
    return _intersection(part, whole) > PART_OF_MASK * part.area


def _intersection(a: _Cut, b: _Cut) -> int:
    """Number of pixels that lie in both masks."""
    top, left = max(a.box[0], b.box[0]), max(a.box[2], b.box[2])
    bottom, right = min(a.box[1], b.box[1]) + 1, min(a.box[3], b.box[3]) + 1
    if top >= bottom or left >= right:
        return 0
    shared = [
        cut.pixels[top - cut.box[0] : bottom - cut.box[0], left - cut.box[2] : right - cut.box[2]] for cut in (a, b)
    ]
    return int(np.count_nonzero(shared[0] & shared[1]))


def box_iou_1d(a: MaskBox, b: MaskBox) -> float:
    """Product of the overlaps of two boxes along rows and columns.

    The overlap of two intervals is their intersection over their hull, which for overlapping intervals is the union.
    """
    product = 1.0
    for i in (0, 2):
        shared = max(0, min(a[i + 1], b[i + 1]) - max(a[i], b[i]) + 1)
        product *= shared / max(1e-6, max(a[i + 1], b[i + 1]) - min(a[i], b[i]) + 1)
    return product


def masks_overlap(a: np.ndarray, b: np.ndarray, *, box_iou: float = 0.7, mask_iou: float = 0.7) -> bool:
    """Whether two masks describe the same object.

    COCO and LVIS masks of one image: .7 and .7 in the published code, .8 for pixels in the paper; two LVIS masks: .85.

    Args:
        a: bool [H,W].
        b: bool [H,W].
        box_iou: limit that `box_iou_1d` of the boxes has to exceed.
        mask_iou: limit that the IoU of the pixels has to exceed.
    """
    first, second = _cut(a), _cut(b)
    if not first.area or not second.area or box_iou_1d(first.box, second.box) <= box_iou:
        return False
    shared = _intersection(first, second)
    return shared > mask_iou * (first.area + second.area - shared)
