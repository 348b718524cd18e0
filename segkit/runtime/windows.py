"""Exported graphs over whole images: windows, padding to a fixed size, and maps at the size of the image, in numpy.

The counterpart of segkit.inference; windows, their order and their sums are the same. B batch, C channels, K classes,
H W image.
"""

from collections.abc import Callable, Sequence

import numpy as np

from segkit.data.large.grid import window_corners
from segkit.files import DataError
from segkit.runtime.metadata import GraphInfo

Maps = Callable[[np.ndarray], np.ndarray]
"""maps(image): takes an image [B,C,H,W], returns float32 [B,K,H,W]."""


def slide(maps: Maps, crop: Sequence[int], stride: Sequence[int]) -> Maps:
    """Averages overlapping windows, as segkit.inference.slide does.

    Args:
        maps: is given each window.
        crop: (height, width) of a window in pixels.
        stride: (height, width) from one window to the next; empty for as few windows as cover the image, evenly spread.
    """
    steps = (stride[0], stride[1]) if stride else None

    def of_windows(image: np.ndarray) -> np.ndarray:
        height, width = image.shape[-2:]
        total: np.ndarray | None = None
        count = np.zeros((1, 1, height, width), np.float32)
        for y, x in window_corners((height, width), (crop[0], crop[1]), steps):
            y1, x1 = min(y + crop[0], height), min(x + crop[1], width)
            part = maps(image[..., y:y1, x:x1])
            if total is None:
                total = np.zeros((len(image), part.shape[1], height, width), np.float32)
            total[..., y:y1, x:x1] += part
            count[..., y:y1, x:x1] += 1
        assert total is not None
        return total / count

    return of_windows


def padded(maps: Maps, size: Sequence[int], fill: Sequence[float]) -> Maps:
    """Pads images at the right and bottom to the only size that a graph takes, and crops its maps.

    Args:
        maps: of images of that size.
        size: (height, width).
        fill: color of the padding, one value for each channel; () for 0.
    """

    def of_padded(image: np.ndarray) -> np.ndarray:
        height, width = image.shape[-2:]
        if (height, width) == tuple(size):
            return maps(image)
        canvas = np.zeros((*image.shape[:2], *size), image.dtype)
        if fill:
            canvas[:] = _as_type(np.array(fill)[None, :, None, None], image.dtype)
        canvas[..., :height, :width] = image
        return maps(canvas)[..., :height, :width]

    return of_padded


def at_image_size(maps: Maps, divisor: int) -> Maps:
    """Resizes maps that a graph gives at its own stride, which cover the image and its padding, to the image.

    Args:
        maps: gives float [B,K,h,w].
        divisor: the graph pads images to multiples of it.
    """

    def of_image(image: np.ndarray) -> np.ndarray:
        import cv2

        height, width = image.shape[-2:]
        small = maps(image).astype(np.float32)
        size = (width + -width % divisor, height + -height % divisor)
        planes = small.reshape(-1, *small.shape[-2:])
        large = np.stack([cv2.resize(plane, size, interpolation=cv2.INTER_LINEAR) for plane in planes])
        return large.reshape(*small.shape[:2], size[1], size[0])[..., :height, :width]

    return of_image


def build_maps(run: Maps, info: GraphInfo, place: str) -> Maps:
    """Builds the way from an image of any size to its maps.

    A graph of one size sees larger images in windows of that size, two thirds of it apart, unless it states its own.

    Args:
        run: the graph, on images that it takes as they are.
        info: of the graph.
        place: its file, for messages.

    Raises:
        DataError: the windows that the graph states do not fit the size that it takes.
    """
    maps = run if info.resized else at_image_size(run, info.divisor)
    windows = info.slide
    if info.size is not None:
        size = info.size
        if windows is not None and (windows["crop"][0] > size[0] or windows["crop"][1] > size[1]):
            raise DataError(
                f"{place}: its windows of {windows['crop']} pixels are larger than its size {size}; export it with "
                "--size of the window, or with free sizes"
            )
        maps = padded(maps, size, info.mean)
        windows = windows or {"crop": list(size), "stride": [max(side * 2 // 3, 1) for side in size]}
    return maps if windows is None else slide(maps, windows["crop"], windows["stride"])


def as_input(image: np.ndarray, dtype: str, place: str) -> np.ndarray:
    """Converts an image to the type that a graph takes.

    Args:
        image: uint8 or float32 [...], as read.
        dtype: of the graph's input. Values of 16 bits that were scaled to 0..255 are rounded for "uint8".
        place: the image, for the message.

    Raises:
        DataError: values lie outside of the type's range.
    """
    wanted = np.dtype(dtype)
    if image.dtype == wanted or wanted.kind == "f":
        return image.astype(wanted, copy=False)
    limits = np.iinfo(wanted)
    low, high = float(image.min(initial=0)), float(image.max(initial=0))
    if low < limits.min or high > limits.max:
        raise DataError(
            f"{place}: values of {low:g} to {high:g}, and the graph takes {dtype}; export the model for images of "
            "float32"
        )
    return _as_type(image, wanted)


def _as_type(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    return (np.rint(values) if dtype.kind in "ui" else values).astype(dtype)
