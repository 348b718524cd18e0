"""Where windows lie in an image: one rule for prediction, validation and training."""


def window_starts(length: int, crop: int, stride: int) -> list[int]:
    """Returns where windows begin along one side of an image, so that they cover it.

    The last one is shifted back inside; a window longer than the side is the whole side.

    Args:
        length: of the side in pixels.
        crop: of a window.
        stride: from one window to the next, at most `crop`.
    """
    last = max(length - crop, 0)
    count = -(-last // stride) + 1
    return [min(i * stride, last) for i in range(count)]


def even_starts(length: int, crop: int) -> list[int]:
    """Returns where as few windows as cover one side of an image begin, evenly spread, as in EoMT.

    Args:
        length: of the side in pixels.
        crop: of a window; one longer than the side is the whole side.
    """
    last, count = max(length - crop, 0), max(-(-length // crop), 1)
    return [last * i // max(count - 1, 1) for i in range(count)]


def window_corners(
    size: tuple[int, int], crop: tuple[int, int], stride: tuple[int, int] | None
) -> list[tuple[int, int]]:
    """Returns the upper left corners (y, x) of the windows of an image, row by row.

    Args:
        size: (height, width) of the image.
        crop: (height, width) of a window.
        stride: (height, width) from one window to the next; None spreads as few as cover the image evenly.
    """
    if stride is None:
        rows, columns = even_starts(size[0], crop[0]), even_starts(size[1], crop[1])
    else:
        rows, columns = window_starts(size[0], crop[0], stride[0]), window_starts(size[1], crop[1], stride[1])
    return [(y, x) for y in rows for x in columns]
