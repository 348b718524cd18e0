"""Masks of an image packed into few layers, and which of them are parts of others. RITM, Sofiiuk et al., arXiv
2102.06583, section 4.1 (the COCO+LVIS data), and its published code. H W image, L layers, n masks."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

FULL = 255
"""Objects a uint8 layer can tell apart."""

PART_OF_BOX, PART_OF_MASK = 0.7, 0.8
"""At least this share of a part's box, and more than this share of its pixels, lies in the whole."""

MaskBox = tuple[int, int, int, int]
"""First and last row, first and last column."""


class _Cut(NamedTuple):
    """A mask without the empty rows and columns around it; box is None for one without a pixel."""

    box: MaskBox | None
    pixels: np.ndarray
    area: int

    @property
    def window(self) -> tuple[slice, slice]:
        """Where the image holds it."""
        top, bottom, left, right = self.box
        return slice(top, bottom + 1), slice(left, right + 1)


def _cut(mask: np.ndarray) -> _Cut:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return _Cut(None, mask[:0, :0], 0)
    box = int(rows[0]), int(rows[-1]), int(columns[0]), int(columns[-1])
    pixels = mask[box[0] : box[1] + 1, box[2] : box[3] + 1]
    return _Cut(box, pixels, int(np.count_nonzero(pixels)))


def _by_area(cuts: Sequence[_Cut]) -> list[int]:
    """-> indices, the largest first; of equal ones the last first, as the published files have them."""
    return sorted(range(len(cuts)), key=lambda index: cuts[index].area)[::-1]


def pack_masks(masks: Sequence[np.ndarray]) -> tuple[list[np.ndarray], list[tuple[int, int]]]:
    """masks: bool [H,W] each, overlapping or not -> (layers uint8 [H,W] each, the (layer, value) of each mask).

    From the largest to the smallest, a mask goes to the first layer where it covers no other and which holds fewer than
    255. Without masks there is no layer.
    """
    cuts = [_cut(mask) for mask in masks]
    layers: list[np.ndarray] = []
    used: list[int] = []
    places = [(0, 0)] * len(masks)
    for index in _by_area(cuts):
        box, pixels, area = cuts[index]
        window = cuts[index].window if box else (slice(0), slice(0))
        free = (n for n, layer in enumerate(layers) if used[n] < FULL and not (area and layer[window][pixels].any()))
        place = next(free, len(layers))
        if place == len(layers):
            layers.append(np.zeros(masks[index].shape, np.uint8))
            used.append(0)
        used[place] += 1
        layers[place][window][pixels] = used[place]
        places[index] = place, used[place]
    return layers, places


def hierarchy(masks: Sequence[np.ndarray]) -> dict[int, dict | None]:
    """masks: bool [H,W] each -> index -> dict(children=[...], parent=index or None, node_level=depth), or None for a
    mask that is neither part nor whole.

    A mask is part of a larger one that holds at least .7 of its box and more than .8 of its pixels. It is attached to
    the deepest such mask found in the family of the largest.
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

    for place, whole in enumerate(order):
        for part in order[place + 1 :]:
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
    """-> pixels of both masks."""
    top, left = max(a.box[0], b.box[0]), max(a.box[2], b.box[2])
    bottom, right = min(a.box[1], b.box[1]) + 1, min(a.box[3], b.box[3]) + 1
    if top >= bottom or left >= right:
        return 0
    shared = [
        cut.pixels[top - cut.box[0] : bottom - cut.box[0], left - cut.box[2] : right - cut.box[2]] for cut in (a, b)
    ]
    return int(np.count_nonzero(shared[0] & shared[1]))


def box_iou_1d(a: MaskBox, b: MaskBox) -> float:
    """-> the product of the overlaps of the two boxes' row and column intervals: intersection over hull, which for
    overlapping intervals is the union."""
    product = 1.0
    for i in (0, 2):
        shared = max(0, min(a[i + 1], b[i + 1]) - max(a[i], b[i]) + 1)
        product *= shared / max(1e-6, max(a[i + 1], b[i + 1]) - min(a[i], b[i]) + 1)
    return product


def masks_overlap(a: np.ndarray, b: np.ndarray, *, box_iou: float = 0.7, mask_iou: float = 0.7) -> bool:
    """a, b: bool [H,W] -> whether both describe one object: box_iou_1d and the IoU of their pixels exceed the limits.

    COCO and LVIS masks of one image: .7 and .7 in the published code, .8 for pixels in the paper; two LVIS masks: .85.
    """
    first, second = _cut(a), _cut(b)
    if not first.area or not second.area or box_iou_1d(first.box, second.box) <= box_iou:
        return False
    shared = _intersection(first, second)
    return shared > mask_iou * (first.area + second.area - shared)
