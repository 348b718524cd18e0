"""One geometric change carried through every key of a sample: image, mask, layers, masks, boxes, clicks, window, valid.

A `Change` says what happens to an image, to a map of labels and to points; `move` applies it to all a sample holds.
Coordinates are continuous pixels: pixel (row i, column j) covers [j, j+1) x [i, i+1), its centre is (j+.5, i+.5).
Clicks count pixel centres as whole numbers (y = 0 is the centre of the first row). Shapes: H W in, h w out, C channels,
n objects, L layers, P clicks per sign. Sizes are always (height, width).
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from segkit.types import CLICK_IGNORE, IGNORE, Sample

Size = tuple[int, int]


class Change(NamedTuple):
    """What a transform does to one sample's arrays. Its functions never write to their input; they may return views."""

    image: Callable[[np.ndarray], np.ndarray]  # [H,W,C] -> [h,w,C]
    labels: Callable[[np.ndarray, float], np.ndarray]  # [H,W], value outside -> [h,w] of the same dtype
    points: Callable[[np.ndarray], np.ndarray]  # float64 [n,2] x,y -> [n,2]
    size: Size  # (h, w)
    valid: Size  # top left part of it that is no padding
    keeps_axes: bool = True  # whether a box stays a box


def image_size(sample: Sample) -> Size:
    """-> (H, W) of the image as it is now, padding included."""
    return sample["image"].shape[:2]


def valid_size(sample: Sample) -> Size:
    """-> (h, w) of the top left part of the image that is no padding: meta["valid"], or the whole image."""
    return tuple(sample.get("meta", {}).get("valid", image_size(sample)))


def move(sample: Sample, change: Change, *, ignore: int = IGNORE) -> Sample:
    """Applies the change to every key; ignore is the label of mask pixels from outside (-1 in float masks).

    Objects whose box or mask becomes empty are removed from boxes, labels, masks and crowd together.
    -> a new sample; the arrays of the given one stay as they are. `window` is the business of crop and resize.
    """
    moved = Sample(**sample)
    moved["meta"] = dict(sample.get("meta", {}), valid=change.valid)
    moved["image"] = change.image(sample["image"])
    if sample.get("mask") is not None:
        moved["mask"] = change.labels(sample["mask"], ignore_value(sample["mask"], ignore))
    if sample.get("layers") is not None:
        layers = [change.labels(np.ascontiguousarray(layer), 0) for layer in np.moveaxis(sample["layers"], 2, 0)]
        # planes one after the other: the next transform takes them one by one
        planes = np.stack(layers) if layers else np.zeros((0, *change.size), sample["layers"].dtype)
        moved["layers"] = planes.transpose(1, 2, 0)
    if sample.get("clicks") is not None:
        moved["clicks"] = _move_clicks(sample["clicks"], change)
    if sample.get("boxes") is not None or sample.get("masks") is not None:
        _move_objects(moved, image_size(sample), change)
    return moved


def ignore_value(mask: np.ndarray, ignore: int) -> float:
    """-> the label of pixels without truth in this mask: -1 in a float mask where the 255 of class masks is meant."""
    return CLICK_IGNORE if mask.dtype.kind == "f" and ignore == IGNORE else ignore


def _move_clicks(clicks: np.ndarray, change: Change) -> np.ndarray:
    """clicks: float [2P,3] y,x,order -> float32 [2P,3]; a click that leaves to the top left is empty: -1,-1,-1."""
    given = np.asarray(clicks, np.float64)
    points = change.points(given[:, 1::-1] + 0.5) - 0.5
    moved = np.concatenate([points[:, ::-1], given[:, 2:]], axis=1)
    moved[moved[:, :2].max(axis=1) < 0] = -1
    is_empty = given[:, :2].max(axis=1) < 0
    moved[is_empty] = given[is_empty]
    return moved.astype(np.float32)


def _move_objects(moved: Sample, size: Size, change: Change) -> None:
    """Replaces boxes, masks, labels and crowd of the new sample by the moved objects that are left."""
    keep = None
    masks = moved.get("masks")
    if masks is not None:
        dense = [change.labels(mask, 0) for mask in dense_masks(masks, size)]
        masks = np.stack(dense) if dense else np.zeros((0, *change.size), np.uint8)
        moved["masks"] = masks
        keep = masks.any(axis=(1, 2))
    if moved.get("boxes") is not None:
        if masks is not None and not change.keeps_axes:
            boxes = boxes_of(masks)
        else:
            boxes = _move_boxes(np.asarray(moved["boxes"], np.float64).reshape(-1, 4), change)
        moved["boxes"] = boxes
        has_area = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
        keep = has_area if keep is None else keep & has_area
    if not keep.all():
        for key in ("boxes", "labels", "masks", "crowd"):
            if moved.get(key) is not None:
                moved[key] = np.asarray(moved[key])[keep]


def _move_boxes(boxes: np.ndarray, change: Change) -> np.ndarray:
    """boxes: float64 [n,4] -> float32 [n,4]: box around the moved outline, cut at the image's border."""
    if not len(boxes):
        return boxes.astype(np.float32)
    steps = np.linspace(0, 1, 2 if change.keeps_axes else 9)
    edge = np.concatenate([[(t, 0), (t, 1), (0, t), (1, t)] for t in steps])  # x, y as fractions of the box
    x = boxes[:, None, 0] + edge[:, 0] * (boxes[:, 2] - boxes[:, 0])[:, None]
    y = boxes[:, None, 1] + edge[:, 1] * (boxes[:, 3] - boxes[:, 1])[:, None]
    outline = change.points(np.stack([x, y], axis=-1).reshape(-1, 2)).reshape(len(boxes), -1, 2)
    limit = np.array(change.size[::-1], np.float64)
    corners = np.concatenate([outline.min(axis=1), outline.max(axis=1)], axis=1)
    return np.clip(corners, 0, np.tile(limit, 2)).astype(np.float32)


def boxes_of(masks: np.ndarray) -> np.ndarray:
    """masks: [n,H,W], not zero = object -> float32 [n,4] tight boxes, x1 and y1 exclusive; zeros for an empty mask."""
    boxes = np.zeros((len(masks), 4), np.float32)
    for box, mask in zip(boxes, masks):
        columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
        if len(rows):
            box[:] = columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
    return boxes


def dense_masks(masks: np.ndarray | Sequence[dict], size: Size) -> np.ndarray:
    """masks: [n,H,W] or n run-length codes dict(size, counts) of COCO -> uint8 [n,H,W]."""
    if isinstance(masks, np.ndarray):
        return masks
    if not len(masks):
        return np.zeros((0, *size), np.uint8)
    from pycocotools import mask as coco_mask

    codes = [
        coco_mask.frPyObjects(code, *size) if isinstance(code.get("counts"), (list, tuple)) else code for code in masks
    ]
    return np.ascontiguousarray(np.moveaxis(coco_mask.decode(codes), 2, 0))


def fill_values(fill: float | Sequence[float], channels: int) -> np.ndarray:
    """fill: one value or one per channel -> float64 [channels]. ValueError where the number of values is another."""
    values = np.asarray(fill, np.float64).ravel()
    if len(values) not in (1, channels):
        raise ValueError(
            f"fill = {fill}: {len(values)} values for an image of {channels} channels; give one, or one each"
        )
    return np.broadcast_to(values, (channels,))


def by_channels(function: Callable[[np.ndarray, slice], np.ndarray], image: np.ndarray) -> np.ndarray:
    """function: ([H,W,c], slice of the channels) -> [h,w(,c)] for 1, 3 or 4 channels -> its result for [H,W,C], any C.

    OpenCV drops an axis of length 1 and takes at most 4 channels in several of its functions.
    """
    channels = image.shape[2]
    if channels in (3, 4):
        return function(image, slice(0, channels))
    step = 1 if channels < 3 else 4
    parts = []
    for start in range(0, channels, step):
        part = slice(start, min(start + step, channels))
        out = function(np.ascontiguousarray(image[:, :, part]), part)
        parts.append(out if out.ndim == 3 else out[:, :, None])
    return np.concatenate(parts, axis=2)


def within(valid: Size, function: Callable[[np.ndarray], np.ndarray], array: np.ndarray) -> np.ndarray:
    """function: [h,w,...] -> same shape; applied to the valid part of array [H,W,...]; padding stays where it is."""
    height, width = valid
    if array.shape[:2] == (height, width):
        return function(array)
    out = array.copy()
    out[:height, :width] = function(array[:height, :width])
    return out
