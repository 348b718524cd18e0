"""The operations transforms are made of: crop, pad, resize, flip, transpose; each for all spatial keys of a sample.

Every image is sampled at pixel centres: output pixel i of w lies at (i + .5) W / w - .5 of the input. Images are
bilinear (or averaged by area), labels take the nearest pixel of exactly that geometry: floor((2i + 1) W / (2w)), which
is OpenCV's INTER_NEAREST_EXACT up to ties; its INTER_NEAREST, floor(i W / w), would shift labels by up to half a pixel.
"""

from collections.abc import Sequence

import cv2
import numpy as np

from segkit.data.transforms.geometry import Change, Size, by_channels, fill_values, image_size, move, valid_size, within
from segkit.types import IGNORE, Sample

Fill = float | Sequence[float]
"""Image value of pixels from outside: one, or one per channel."""


def crop(sample: Sample, y0: int, x0: int, size: Size) -> Sample:
    """Crops a rectangle, or what the image has of it.

    Sets `window` to the crop's position, and meta["whole"] to the size (H, W) of the image that this is a position in,
    where an earlier crop has not set it.

    Args:
        sample: all spatial keys are cropped.
        y0: first row.
        x0: first column.
        size: (h, w) of the crop in pixels.

    Returns:
        A new sample.
    """
    height, width = image_size(sample)
    y1, x1 = min(y0 + size[0], height), min(x0 + size[1], width)
    valid_height, valid_width = valid_size(sample)
    change = Change(
        image=lambda image: image[y0:y1, x0:x1],
        labels=lambda labels, outside: labels[y0:y1, x0:x1],
        points=lambda points: points - (x0, y0),
        size=(y1 - y0, x1 - x0),
        valid=(max(min(valid_height, y1) - y0, 0), max(min(valid_width, x1) - x0, 0)),
    )
    cut = move(sample, change)
    top, left = sample["window"][:2] if sample.get("window") is not None else (0, 0)
    cut["meta"].setdefault("whole", (valid_height, valid_width))
    cut["window"] = np.array([top + y0, left + x0, top + y0 + change.valid[0], left + x0 + change.valid[1]], np.int64)
    return cut


def pad(sample: Sample, size: Size, *, offset: Size = (0, 0), fill: Fill = 0, ignore: int = IGNORE) -> Sample:
    """Pads to a size.

    Args:
        sample: all spatial keys are padded.
        size: (h, w) in pixels, at least the image's.
        offset: (top, left) of the image in the padded one. With an offset the padding is no longer at the right and
            bottom alone: then it counts as part of the image.
        fill: image value of the padding.
        ignore: label of the padding; IGNORE stands for -1 in float masks.

    Returns:
        A new sample, or the given one where nothing is missing.
    """
    height, width = image_size(sample)
    top, left = offset
    if size == (height, width):
        return sample

    def on_canvas(array: np.ndarray, value: float | np.ndarray) -> np.ndarray:
        canvas = np.empty((*size, *array.shape[2:]), array.dtype)
        canvas[:top], canvas[top + height :] = value, value
        canvas[top : top + height, :left], canvas[top : top + height, left + width :] = value, value
        canvas[top : top + height, left : left + width] = array
        return canvas

    change = Change(
        image=lambda image: on_canvas(image, _scalar_where_equal(fill_values(fill, image.shape[2]))),
        labels=on_canvas,
        points=lambda points: points + (left, top),
        size=size,
        valid=valid_size(sample) if offset == (0, 0) else size,
    )
    return move(sample, change, ignore=ignore)


def _scalar_where_equal(values: np.ndarray) -> float | np.ndarray:
    """One number in place of equal ones: numpy fills with it 80 times as fast."""
    return float(values[0]) if (values == values[0]).all() else values


def resize(sample: Sample, size: Size, *, area: bool = False) -> Sample:
    """Resizes to a size.

    Scales `window` and meta["whole"] too.

    Args:
        sample: all spatial keys are resized; the image is bilinear, labels take the nearest pixel.
        size: (h, w) in pixels.
        area: where the image shrinks, takes the mean over each output pixel's area instead.

    Returns:
        A new sample, or the given one where it has that size.
    """
    height, width = image_size(sample)
    if size == (height, width):
        return sample
    is_shrunk = size[0] <= height and size[1] <= width
    interpolation = cv2.INTER_AREA if area and is_shrunk else cv2.INTER_LINEAR
    rows, columns = nearest_index(height, size[0]), nearest_index(width, size[1])
    scale_y, scale_x = size[0] / height, size[1] / width
    valid_height, valid_width = valid_size(sample)
    change = Change(
        image=lambda image: by_channels(
            lambda group, _: cv2.resize(group, size[::-1], interpolation=interpolation), image
        ),
        labels=lambda labels, outside: take(labels, rows, columns),
        points=lambda points: points * (scale_x, scale_y),
        size=size,
        valid=(max(round(valid_height * scale_y), 1), max(round(valid_width * scale_x), 1)),
    )
    resized = move(sample, change)
    if sample.get("window") is not None:
        scales = (scale_y, scale_x, scale_y, scale_x)
        resized["window"] = np.rint(np.asarray(sample["window"]) * scales).astype(np.int64)
        if "whole" in resized["meta"]:
            whole_height, whole_width = resized["meta"]["whole"]
            resized["meta"]["whole"] = (round(whole_height * scale_y), round(whole_width * scale_x))
    return resized


def resized_crop(sample: Sample, scaled: Size, origin: Size, size: Size) -> Sample:
    """Resizes and crops in one, computing only the pixels of the crop.

    Sets `window` to the crop's position in the resized image, and meta["whole"] to the size of that; after an earlier
    crop both are those of the image before it. Pixel i of the
    crop lies at y + (i + .5) H / h' - .5 of the image, with h' = scaled[0]: exactly the pixels of crop(resize(...))
    where y h' / H is a whole number, except for the first ceil(h' / 2H) rows and columns of an enlarged image: they
    repeat the first pixel of the crop where the whole image would show its neighbour's share.

    Args:
        sample: all spatial keys are resized and cropped.
        scaled: (h', w'), the size the whole image would be resized to.
        origin: (y, x) of the crop in whole pixels of the image before the resize.
        size: (h, w) of the crop, which must fit.

    Returns:
        A new sample.
    """
    height, width = image_size(sample)
    y, x = origin
    scale_y, scale_x = scaled[0] / height, scaled[1] / width
    # Two pixels more than the crop needs: the last output pixel mixes with its right and lower neighbours.
    y1 = min(y + int(size[0] / scale_y) + 3, height)
    x1 = min(x + int(size[1] / scale_x) + 3, width)
    rows = nearest_index(height, scaled[0])[: size[0]] + y
    columns = nearest_index(width, scaled[1])[: size[1]] + x

    def cut_image(group: np.ndarray, _: slice) -> np.ndarray:
        if scaled == (height, width):
            return group[y : y + size[0], x : x + size[1]]
        resized = cv2.resize(group[y:y1, x:x1], None, fx=scale_x, fy=scale_y, interpolation=cv2.INTER_LINEAR)
        return resized[: size[0], : size[1]]

    change = Change(
        image=lambda image: by_channels(cut_image, image),
        labels=lambda labels, outside: take(labels, rows, columns),
        points=lambda points: (points - (x, y)) * (scale_x, scale_y),
        size=size,
        valid=size,
    )
    moved = move(sample, change)
    outer_top, outer_left = sample["window"][:2] if sample.get("window") is not None else (0, 0)
    top, left = round((outer_top + y) * scale_y), round((outer_left + x) * scale_x)
    whole_height, whole_width = sample.get("meta", {}).get("whole", (height, width))
    moved["meta"]["whole"] = (round(whole_height * scale_y), round(whole_width * scale_x))
    moved["window"] = np.array([top, left, top + size[0], left + size[1]], np.int64)
    return moved


def nearest_index(length: int, resized: int) -> np.ndarray:
    """Returns the source pixel of each pixel of a resized axis, int64 [resized]: the one in which its centre lies.

    Args:
        length: pixels before the resize.
        resized: pixels after it.
    """
    return (2 * np.arange(resized) + 1) * length // (2 * resized)


def take(labels: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Selects rows and columns of a label map.

    Args:
        labels: [H,W].
        rows: indices of rows, [h].
        columns: indices of columns, [w].

    Returns:
        [h,w].
    """
    # the axis that leaves less to copy goes first
    if len(rows) * labels.shape[1] < len(columns) * labels.shape[0]:
        return labels.take(rows, axis=0).take(columns, axis=1)
    return labels.take(columns, axis=1).take(rows, axis=0)


def flip(sample: Sample, *, horizontal: bool, vertical: bool) -> Sample:
    """Mirrors the valid part of the image; padding stays at the right and bottom, `window` as it is.

    Args:
        sample: all spatial keys are mirrored.
        horizontal: whether left and right change.
        vertical: whether top and bottom change.

    Returns:
        A new sample, or the given one where nothing changes.
    """
    if not horizontal and not vertical:
        return sample
    height, width = valid = valid_size(sample)
    code = -1 if horizontal and vertical else int(horizontal)
    sign = np.where((horizontal, vertical), -1, 1)
    shift = (width * horizontal, height * vertical)
    change = Change(
        image=lambda image: within(
            valid, lambda inner: by_channels(lambda group, _: cv2.flip(group, code), inner), image
        ),
        labels=lambda labels, outside: within(valid, lambda inner: cv2.flip(inner, code), labels),
        points=lambda points: points * sign + shift,
        size=image_size(sample),
        valid=valid,
    )
    return move(sample, change)


def transpose(sample: Sample) -> Sample:
    """Swaps rows and columns of all spatial keys; a padded image stays padded at the right and bottom."""
    height, width = image_size(sample)
    valid_height, valid_width = valid_size(sample)
    change = Change(
        image=lambda image: np.ascontiguousarray(image.swapaxes(0, 1)),
        labels=lambda labels, outside: np.ascontiguousarray(labels.T),
        points=lambda points: points[:, ::-1],
        size=(width, height),
        valid=(valid_width, valid_height),
    )
    return move(sample, change)
