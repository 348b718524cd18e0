"""A sliding window over an image, band by band: rows that no later window reaches are finished and leave.

B batch, K classes, H W image.
"""

from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from segkit.data.large.grid import window_corners
from segkit.registry import ConfigError

Predict = Callable[..., Tensor]
"""predict(image, window=None): takes an image [B,C,H,W] and, for each image of the batch, the position of the crop in
the whole image (y0, x0, y1, x1, H, W); returns Network.maps, logits float32 [B,K,H,W], or the scores of a network that
gives them. What is said of logits here holds for such scores, except that they stay as they are where logits become
probabilities."""


def slide(predict: Predict, crop: tuple[int, int], *, stride: tuple[int, int] | None) -> Predict:
    """Predicts overlapping windows, and averages their logits.

    Windows that would reach beyond the right or bottom border are shifted back inside. What is held is the map once,
    and the sums of one row of windows.

    Args:
        predict: is given each window and its position.
        crop: (height, width) of a window in pixels; larger than the image, it is the whole image.
        stride: (height, width) in pixels from one window to the next; None for as few windows as cover the image,
            evenly spread.

    Raises:
        ConfigError: for a stride below 1 or larger than the crop.
    """
    _check(crop, stride)

    def predict_windows(image: Tensor, window: list | None = None) -> Tensor:
        return _joined(_bands(predict, image, crop, stride), image.shape[-2])

    return predict_windows


def slide_labels(
    predict: Predict, crop: tuple[int, int], *, stride: tuple[int, int] | None, decide: Callable[[Tensor], Tensor]
) -> Predict:
    """Predicts overlapping windows, and decides the labels of each band of rows as soon as it is finished.

    The labels are decide(slide(predict, crop, stride=stride)(image)), without logits of the whole image.

    Args:
        predict, crop, stride: as of `slide`.
        decide: turns logits [B,K,h,W] into labels [B,h,W], each pixel by itself.

    Returns:
        A function of an image that gives its labels [B,H,W].

    Raises:
        ConfigError: as of `slide`.
    """
    _check(crop, stride)

    def label_windows(image: Tensor, window: list | None = None) -> Tensor:
        bands = _bands(predict, image, crop, stride)
        # a window's width at a time: an argmax makes a copy of what lies apart in memory
        labels = (torch.cat([decide(part) for part in band.split(crop[1], -1)], -1) for band in bands)
        return _joined(labels, image.shape[-2])

    return label_windows


def _check(crop: tuple[int, int], stride: tuple[int, int] | None) -> None:
    if stride is not None and (stride[0] > crop[0] or stride[1] > crop[1] or min(stride) < 1):
        raise ConfigError(f"inference.stride = {stride}: must lie between 1 and inference.crop = {crop}")


def _bands(predict: Predict, image: Tensor, crop: tuple[int, int], stride: tuple[int, int] | None) -> Iterator[Tensor]:
    """Yields the mean logits [B,K,h,W] of finished rows, from the top; each is overwritten when the next is asked for.

    Logits are added in the order of the windows and divided by their counts, as for the whole map.
    """
    height, width = image.shape[-2:]
    tall = min(crop[0], height)
    corners = window_corners((height, width), crop, stride)
    tops = sorted({y for y, _ in corners})
    sums: Tensor | None = None
    counts = torch.zeros(1, 1, tall, width, device=image.device)
    for y, following in zip(tops, [*tops[1:], height]):
        for x in (x for top, x in corners if top == y):
            right = min(x + crop[1], width)
            position = (y, x, y + tall, right, height, width)
            logits = predict(image[..., y : y + tall, x:right], window=[position] * len(image))
            if sums is None:
                kind = torch.promote_types(logits.dtype, torch.float32)
                sums = logits.new_zeros(len(image), logits.shape[1], tall, width, dtype=kind)
            sums[..., x:right] += logits
            counts[..., x:right] += 1
        assert sums is not None
        done = following - y
        yield sums[..., :done, :].div_(counts[..., :done, :])
        for first in range(0, tall - done, done):  # as many rows at a time as lie between there and here
            rows = min(done, tall - done - first)
            sums[..., first : first + rows, :] = sums[..., first + done : first + done + rows, :]
        sums[..., tall - done :, :] = 0
        # a new tensor: a gradient through the division reads the one before
        counts = F.pad(counts[..., done:, :], (0, 0, 0, done))


def _joined(bands: Iterator[Tensor], height: int) -> Tensor:
    """Joins bands into a map of this height; a single band is the map itself."""
    joined: Tensor | None = None
    top = 0
    for band in bands:
        rows = band.shape[-2]
        if rows == height:
            return band
        if joined is None:
            joined = band.new_empty(*band.shape[:-2], height, band.shape[-1])
        joined[..., top : top + rows, :] = band
        top += rows
    assert joined is not None
    return joined
