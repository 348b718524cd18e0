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
