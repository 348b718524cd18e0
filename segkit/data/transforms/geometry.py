"""One geometric change applied to all spatial keys of a sample: image, mask, layers, masks, boxes, points, clicks.

A `Change` says what happens to an image, to a map of labels and to points; `move` applies it to all a sample holds.
Coordinates are continuous pixels: pixel (row i, column j) covers [j, j+1) x [i, i+1), its centre is (j+.5, i+.5).
Clicks count pixel centres as whole numbers (y = 0 is the centre of the first row). Shapes: H W in, h w out, C channels,
n objects, L layers, P clicks per sign. Sizes are always (height, width).
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from segkit.data.files.object_masks import each_mask
from segkit.files import DataError
from segkit.ops.instances.packed_masks import PackedMasks
from segkit.types import CLICK_IGNORE, IGNORE, Meta, Sample

Size = tuple[int, int]
"""(height, width)."""


class Change(NamedTuple):
    """What a transform does to one sample's arrays. Its functions never write to their input; they may return views.

    Attributes:
        image: takes [H,W,C] and returns [h,w,C].
        labels: takes [H,W] and the value of pixels from outside, and returns [h,w] of the same dtype.
        points: takes float64 [n,2] x, y and returns [n,2].
        size: (h, w).
        valid: top left part of `size` that is no padding.
        keeps_axes: whether an upright box stays an upright box.
        is_affine: whether `points` is an affine map, which can be inverted.
    """

    image: Callable[[np.ndarray], np.ndarray]
    labels: Callable[[np.ndarray, float], np.ndarray]
    points: Callable[[np.ndarray], np.ndarray]
    size: Size
    valid: Size
    keeps_axes: bool = True
    is_affine: bool = True


def image_size(sample: Sample) -> Size:
    """Returns (H, W) of the image as it is now, padding included."""
    height, width = sample["image"].shape[:2]
    return height, width


def valid_size(sample: Sample) -> Size:
    """Returns (h, w) of the top left part of the image that is no padding: meta["valid"], or the whole image."""
    height, width = sample.get("meta", {}).get("valid", image_size(sample))
    return height, width


def move(sample: Sample, change: Change, *, ignore: int = IGNORE) -> Sample:
    """Applies a change to all spatial keys.

    Objects whose box or mask becomes empty are removed from boxes, labels, masks and crowd together. `window` stays:
    crop and resize set it themselves.

    Args:
        sample: its arrays stay as they are.
        change: what to do.
        ignore: label of mask pixels from outside; IGNORE stands for -1 in float masks.

    Returns:
        A new sample.
    """
    moved = Sample(**sample)
    moved["meta"] = Meta(**{**sample.get("meta", {}), "valid": change.valid})
    if "matrix" in moved["meta"]:
        moved["meta"]["matrix"] = _composed(moved["meta"]["matrix"], change)
    moved["image"] = change.image(sample["image"])
    if sample.get("clean") is not None:
        moved["clean"] = change.image(sample["clean"])
    if sample.get("mask") is not None:
        outside = ignore_value(sample["mask"], ignore)
        is_map = sample["mask"].ndim == 2
        moved["mask"] = (change.labels if is_map else _planes(change))(sample["mask"], outside)
    if sample.get("angle") is not None:
        moved["angle"] = _move_angles(sample["angle"], change)
    if sample.get("unlabelled") is not None:
        moved["unlabelled"] = change.labels(sample["unlabelled"], 0)
    if sample.get("proposals") is not None:
        moved["proposals"] = change.labels(sample["proposals"], 0)
    if sample.get("layers") is not None:
        moved["layers"] = _planes(change)(sample["layers"], 0)
    if sample.get("clicks") is not None:
        moved["clicks"] = _move_clicks(sample["clicks"], change)
    if sample.get("points") is not None:
        moved["points"], moved["point_labels"] = _move_points(sample["points"], sample["point_labels"], change)
    if sample.get("boxes") is not None or sample.get("masks") is not None:
        _move_objects(moved, image_size(sample), change)
    return moved


def _planes(change: Change) -> Callable[[np.ndarray, float], np.ndarray]:
    """What `change.labels` does to [H,W], for [H,W,L]."""

    def moved(maps: np.ndarray, outside: float) -> np.ndarray:
        layers = [change.labels(np.ascontiguousarray(layer), outside) for layer in np.moveaxis(maps, 2, 0)]
        # planes one after the other: the next transform takes them one by one
        planes = np.stack(layers) if layers else np.zeros((0, *change.size), maps.dtype)
        return planes.transpose(1, 2, 0)

    return moved


def _composed(matrix: np.ndarray, change: Change) -> np.ndarray:
    """The matrix of Meta after one more change; NaN where no matrix says where the pixels are."""
    if not change.is_affine:
        return np.full((2, 3), np.nan)
    origin, right, down = change.points(np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]))
    linear = np.stack([right - origin, down - origin], axis=1)
    composed = linear @ matrix
    composed[:, 2] += origin
    return composed


def _move_angles(angles: np.ndarray, change: Change) -> np.ndarray:
    """Moves a map of directions and turns each as its pixel's surroundings turn, float32 [h,w] in -180..180 degrees."""
    if not change.is_affine:
        raise DataError(
            "the directions of SegFixTargets cannot follow a transform that bends the image; leave it out of "
            "train.transforms"
        )
    moved = change.labels(angles, 0.0)
    origin, right, down = change.points(np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]))
    (xx, yx), (xy, yy) = right - origin, down - origin
    if xx == yy > 0 and xy == yx == 0:
        return moved
    x, y = np.cos(np.radians(moved)), np.sin(np.radians(moved))
    turned = np.degrees(np.arctan2(yx * x + yy * y, xx * x + xy * y))
    return np.round(turned, 3).astype(np.float32)  # whole angles stay whole where the image is mirrored


def ignore_value(mask: np.ndarray, ignore: int) -> float:
    """Returns the label of pixels without truth: `ignore`, but -1 in float masks where `ignore` is IGNORE.

    Args:
        mask: its dtype decides.
        ignore: as in class masks.
    """
    return CLICK_IGNORE if mask.dtype.kind == "f" and ignore == IGNORE else ignore


def _move_clicks(clicks: np.ndarray, change: Change) -> np.ndarray:
    """Moves clicks, float [2P,3] y, x, order, to float32 [2P,3]; one that leaves to the top left is empty: -1,-1,-1."""
    before = np.asarray(clicks, np.float64)
    points = change.points(before[:, 1::-1] + 0.5) - 0.5
    moved = np.concatenate([points[:, ::-1], before[:, 2:]], axis=1)
    moved[moved[:, :2].max(axis=1) < 0] = -1
    is_empty = before[:, :2].max(axis=1) < 0
    moved[is_empty] = before[is_empty]
    return moved.astype(np.float32)


def _move_points(points: np.ndarray, labels: np.ndarray, change: Change) -> tuple[np.ndarray, np.ndarray]:
    """Moves points of objects, float [n,P,2], to float32 [n,P,2]; labels int8 [n,P] of those that leave become -1."""
    places = change.points(np.asarray(points, np.float64).reshape(-1, 2)).reshape(points.shape)
    height, width = change.valid
    is_inside = ((places >= 0) & (places <= (width, height))).all(axis=-1)
    return places.astype(np.float32), np.where(is_inside, labels, -1).astype(np.int8)


def _move_objects(moved: Sample, size: Size, change: Change) -> None:
    """Replaces boxes, masks, labels and crowd of the new sample by the moved objects that are left."""
    conditions: list[np.ndarray | np.bool_] = []
    is_used: list[bool] = []
    tight: list[np.ndarray] = []
    if (masks := moved.get("masks")) is not None:

        def changed() -> Iterator[np.ndarray]:
            for mask in each_mask(masks, size):
                of_object = change.labels(mask, 0)
                is_used.append(bool(of_object.any()))
                if not change.keeps_axes:
                    tight.append(boxes_of(of_object[None])[0])
                yield of_object

        if isinstance(masks, np.ndarray):
            dense = list(changed())
            moved["masks"] = np.stack(dense) if dense else np.zeros((0, *change.size), np.uint8)
        else:  # one object at a time is held with a byte for each pixel
            moved["masks"] = PackedMasks.of(changed(), change.size)
        conditions.append(np.array(is_used, bool))
    if moved.get("boxes") is not None:
        if masks is not None and not change.keeps_axes:
            boxes = np.array(tight, np.float32).reshape(-1, 4)
        else:
            boxes = _move_boxes(np.asarray(moved["boxes"], np.float64).reshape(-1, 4), change)
        moved["boxes"] = boxes
        conditions += [boxes[:, 2] > boxes[:, 0], boxes[:, 3] > boxes[:, 1]]
    keep = np.logical_and.reduce(conditions)
    if not keep.all():
        for key in ("boxes", "labels", "masks", "crowd", "mask_quality", "points", "point_labels"):
            if moved.get(key) is not None:
                moved[key] = kept(moved[key], keep)


def kept(rows: np.ndarray | PackedMasks | list, keep: np.ndarray) -> np.ndarray | PackedMasks:
    """Returns those rows of a sample's objects that bool [n] marks; packed masks stay packed."""
    return rows.rows(keep) if isinstance(rows, PackedMasks) else np.asarray(rows)[keep]


def _move_boxes(boxes: np.ndarray, change: Change) -> np.ndarray:
    """The boxes around the moved outlines of boxes, float64 [n,4], as float32 [n,4] cut at the image's border."""
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


def boxes_of(masks: np.ndarray | PackedMasks) -> np.ndarray:
    """Computes the tight boxes around masks.

    Args:
        masks: [n,H,W], not 0 where the object is.

    Returns:
        float32 [n,4] x0, y0, x1, y1, x1 and y1 exclusive; zeros for an empty mask.
    """
    boxes = np.zeros((len(masks), 4), np.float32)
    for box, mask in zip(boxes, masks):
        columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
        if len(rows):
            box[:] = columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
    return boxes


def fill_values(fill: float | Sequence[float], channels: int) -> np.ndarray:
    """Returns the fill value of each channel, float64 [channels].

    Args:
        fill: one value, or one per channel.
        channels: of the image.

    Raises:
        ValueError: where the number of values is another.
    """
    values = np.asarray(fill, np.float64).ravel()
    if len(values) not in (1, channels):
        raise ValueError(
            f"fill = {fill}: {len(values)} values for an image of {channels} channels; give one, or one per channel"
        )
    return np.broadcast_to(values, (channels,))


def by_channels(function: Callable[[np.ndarray, slice], np.ndarray], image: np.ndarray) -> np.ndarray:
    """Applies a function that takes at most 4 channels to an image of any number of channels.

    OpenCV drops an axis of length 1 and takes at most 4 channels in several of its functions.

    Args:
        function: takes [H,W,c], c being 1, 3 or 4 (the last group of an image of more than 4 may have 2), and the slice
            of the channels that these are, and returns [h,w,c] or [h,w].
        image: [H,W,C].

    Returns:
        [h,w,C].
    """
    channels = image.shape[2]
    if channels in (3, 4):
        return function(image, slice(0, channels))
    step = 1 if channels < 3 else 4
    groups = []
    for start in range(0, channels, step):
        group = slice(start, min(start + step, channels))
        result = function(np.ascontiguousarray(image[:, :, group]), group)
        groups.append(result if result.ndim == 3 else result[:, :, None])
    return np.concatenate(groups, axis=2)


def within(valid: Size, function: Callable[[np.ndarray], np.ndarray], array: np.ndarray) -> np.ndarray:
    """Applies a function to the part of an array that is no padding.

    Args:
        valid: (h, w) of that part, at the top left.
        function: takes [h,w,...] and returns the same shape.
        array: [H,W,...].

    Returns:
        A new array with the same padding.
    """
    height, width = valid
    if array.shape[:2] == (height, width):
        return function(array)
    changed = array.copy()
    changed[:height, :width] = function(array[:height, :width])
    return changed
