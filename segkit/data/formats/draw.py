"""From the labels of an image to pixels: a map of classes, and a run-length code of each object.

H W image, K classes. The pixels of an outline are those that pycocotools' rasteriser gives, as in all COCO readers.
"""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

from segkit.data.files.coco_json import to_rle
from segkit.data.files.outlines import reason
from segkit.data.formats.base import Box, LabelledImage, LabelReader, Shape
from segkit.data.formats.common import BACKGROUND, background_of
from segkit.files import DataError
from segkit.registry import did_you_mean
from segkit.types import IGNORE, RLE


class Drawn(NamedTuple):
    """A map of classes, and what drawing it decided.

    Args:
        label_map: uint8 [H,W] of class indices and IGNORE.
        overlapped_pixels: pixels that objects of different classes share; the one drawn last has them.
        overlapped_objects: objects that lost pixels to one of another class.
        boxes: objects that are not drawn, because they are boxes alone.
    """

    label_map: np.ndarray
    overlapped_pixels: int = 0
    overlapped_objects: int = 0
    boxes: int = 0


def pixel_classes(reader: LabelReader) -> tuple[str, ...]:
    """Returns the classes that a map of the pixels of a reader's images has.

    Formats that label pixels name them all; where objects are labelled, what is none of them is one class more: the
    background, which goes first.

    Args:
        reader: images up to the first labelled one are read.
    """
    if background_of(reader.classes) is not None:
        return tuple(reader.classes)
    first = next((index for index in range(len(reader)) if reader.is_labelled(index)), None)
    if first is not None and reader.item(first).label_map is not None:
        return tuple(reader.classes)
    return (BACKGROUND, *reader.classes)


def draw_classes(image: LabelledImage, classes: Sequence[str]) -> Drawn:
    """Draws the objects of an image into a map of classes.

    Crowds of no class of these are drawn first, as IGNORE; then the rest: in the order of the file where it says that
    this counts, else the crowds, then the larger objects first, so that small ones stay visible; of equal areas the
    later one lies above. The pixels of a crowd are of its class, as Cityscapes scores its groups and as COCO-Stuff
    draws COCO's crowds. A map that the format has itself is taken as it is.

    Args:
        image: the labels.
        classes: K names; what nothing covers is the background, class 0 where none is named so.

    Raises:
        DataError: names an object that cannot be drawn, or whose class is unknown.
    """
    if image.label_map is not None:
        return Drawn(image.label_map)
    from pycocotools import mask as coco_mask

    index_of = {name: number for number, name in enumerate(classes)}
    label_map = np.full(image.size, background_of(classes) or 0, np.uint8)
    owner = np.full(image.size, -1, np.int32)
    is_shared = np.zeros(image.size, bool)
    codes = object_codes(image)
    drawable = [number for number, code in enumerate(codes) if code is not None]
    areas = {number: int(coco_mask.area(codes[number])) for number in drawable}
    losers: set[int] = set()

    def rank(number: int) -> tuple[bool, bool, int]:
        shape = image.shapes[number]
        is_known = not shape.crowd or shape.label in index_of
        return (is_known, False, 0) if image.in_order else (is_known, not shape.crowd, -areas[number])

    for number in sorted(drawable, key=rank):
        shape, is_inside = image.shapes[number], coco_mask.decode(codes[number]) == 1
        if shape.crowd:
            label_map[is_inside] = index_of.get(shape.label, IGNORE)
            owner[is_inside] = -1
            continue
        if shape.label not in index_of:
            raise DataError(f"{_place(image, number)}: no such class{did_you_mean(shape.label, classes)}")
        label = index_of[shape.label]
        is_lost = is_inside & (owner >= 0) & (label_map != label)
        if is_lost.any():
            losers.update(np.unique(owner[is_lost]).tolist())
            is_shared |= is_lost
        label_map[is_inside] = label
        owner[is_inside] = number
    return Drawn(label_map, int(is_shared.sum()), len(losers), len(codes) - len(drawable))


def object_codes(image: LabelledImage) -> list[RLE | None]:
    """Encodes each object of an image.

    Args:
        image: the labels.

    Returns:
        A compressed run-length code for each shape, None for a box alone.

    Raises:
        DataError: names an object that cannot be drawn.
    """
    codes: list[RLE | None] = []
    for number, shape in enumerate(image.shapes):
        if shape.mask is None and not shape.outlines:
            codes.append(None)
            continue
        try:
            codes.append(_code(shape, image.size))
        except (TypeError, ValueError, KeyError, IndexError, OverflowError, AttributeError) as error:
            raise DataError(
                f"{_place(image, number)}: it cannot be drawn ({reason(error)}); correct or remove it"
            ) from error
    return codes


def _code(shape: Shape, size: tuple[int, int]) -> RLE:
    from pycocotools import mask as coco_mask

    if shape.mask is not None:
        return to_rle(shape.mask, *size)
    code = to_rle([outline.ravel().tolist() for outline in shape.outlines], *size)
    if not shape.holes:
        return code
    holes = coco_mask.decode(to_rle([hole.ravel().tolist() for hole in shape.holes], *size))
    return coco_mask.encode(np.asfortranarray(coco_mask.decode(code) & (1 - holes)))


def _place(image: LabelledImage, number: int) -> str:
    return f"{image.path}, object {number + 1} ('{image.shapes[number].label}')"


def objects_of(image: LabelledImage, classes: Sequence[str]) -> tuple[Shape, ...]:
    """Returns the objects of an image; of a map of classes the connected regions of each class but the background.

    Args:
        image: the labels.
        classes: names of the map's classes, as of pixel_classes.
    """
    if image.shapes or image.label_map is None:
        return image.shapes
    from pycocotools import mask as coco_mask

    background, found = background_of(classes), []
    for label in np.unique(image.label_map).tolist():
        if label == background or label >= len(classes):
            continue
        count, regions = cv2.connectedComponents((image.label_map == label).astype(np.uint8), connectivity=8)
        for region in range(1, count):
            code = coco_mask.encode(np.asfortranarray(regions == region, dtype=np.uint8))
            found.append(Shape(classes[label], mask=code))
    return tuple(found)


def box_of(shape: Shape, code: RLE | None) -> Box:
    """Returns the box of an object: as the file states it, else the tight one around its corners or pixels.

    Args:
        shape: the object.
        code: its run-length code, for objects that have a mask.
    """
    if shape.box is not None:
        return shape.box
    if shape.outlines:
        corners = np.concatenate(shape.outlines)
        (x0, y0), (x1, y1) = corners.min(axis=0), corners.max(axis=0)
        return float(x0), float(y0), float(x1), float(y1)
    from pycocotools import mask as coco_mask

    x, y, width, height = (float(side) for side in coco_mask.toBbox(code))
    return x, y, x + width, y + height


def outlines_of(code: RLE) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Traces the outlines of a mask, along the borders of its pixels, so that drawing them gives the mask again.

    Args:
        code: compressed run-length code.

    Returns:
        The pieces and the holes, float64 [n,2] of (x, y) each, in pixels.
    """
    from pycocotools import mask as coco_mask

    mask = coco_mask.decode(code)
    edges = _edges(np.pad(mask, 1).astype(bool))
    pieces: list[np.ndarray] = []
    holes: list[np.ndarray] = []
    while edges:
        corner, ends = next(iter(edges.items()))
        loop = [corner]
        direction = ends[0]
        position = corner
        while True:
            ends = edges[position]
            # where two pixels touch at a corner the way turns right, which keeps them apart
            step = _turn(direction, ends)
            ends.remove(step)
            if not ends:
                del edges[position]
            if step != direction and position != corner:
                loop.append(position)
            direction, position = step, (position[0] + step[0], position[1] + step[1])
            if position == corner:
                break
        points = np.array(loop, np.float64)
        x, y = points.T
        area = float((x * np.roll(y, -1) - y * np.roll(x, -1)).sum())
        (pieces if area > 0 else holes).append(points)
    return pieces, holes


def _turn(direction: tuple[int, int], steps: list[tuple[int, int]]) -> tuple[int, int]:
    right = (-direction[1], direction[0])
    return right if right in steps else steps[0]


def _edges(mask: np.ndarray) -> dict[tuple[int, int], list[tuple[int, int]]]:
    """The borders of the pixels of a padded mask as unit steps from corner to corner, the mask to the right of each."""
    edges: dict[tuple[int, int], list[tuple[int, int]]] = {}
    inner = mask[1:-1, 1:-1]
    for other, dx, dy, step in (
        (mask[:-2, 1:-1], 0, 0, (1, 0)),
        (mask[1:-1, 2:], 1, 0, (0, 1)),
        (mask[2:, 1:-1], 1, 1, (-1, 0)),
        (mask[1:-1, :-2], 0, 1, (0, -1)),
    ):
        for y, x in np.argwhere(inner & ~other).tolist():
            edges.setdefault((x + dx, y + dy), []).append(step)
    return edges
