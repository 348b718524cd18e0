"""Gaussian filters over features of pixels: out_i = sum over j of exp(-|f_i - f_j|^2 / 2) x_j, with the pixel itself.

B batch, D features, K channels that are filtered, N = H W pixels.
"""

from collections.abc import Callable, Iterator
from typing import Annotated, TypeAlias

import torch
from torch import Tensor

from segkit.constraints.named import OneOf

Filter: TypeAlias = Callable[[Tensor], Tensor]
"""Takes and returns maps, float [B,K,H,W]."""

Normalization: TypeAlias = Annotated[str, OneOf(("symmetric", "before", "after", "none"))]
"""How a kernel G is normalized by the sums D of its rows: D^-1/2 G D^-1/2, G D^-1, D^-1 G, or G."""

LEAST_SUM = 1e-20
"""Is added to the sums of rows, as in the published code."""


FARTHEST = 54.0
"""Squared distance beyond which a kernel is 0, where it is below 2e-12: processors are slow on numbers below 1e-38."""

LEAST_SHARE = 1e-20
"""Probability that takes part in messages at least, for the same reason."""


def gaussian(squared: Tensor) -> Tensor:
    """Returns exp(-d^2 / 2) of squared distances, 0 where it is tiny."""
    return squared.mul(-0.5).exp().masked_fill(squared > FARTHEST, 0.0)


def shares(scores: Tensor) -> Tensor:
    """Returns the softmax of scores [B,K,H,W], tiny ones raised, which messages are made of."""
    return scores.softmax(1).clamp_min(LEAST_SHARE)


def positions(image: Tensor) -> Tensor:
    """Returns x and y of each pixel, float [B,2,H,W], for an image [B,C,H,W]."""
    batch, _, height, width = image.shape
    rows = torch.arange(height, device=image.device, dtype=image.dtype)
    columns = torch.arange(width, device=image.device, dtype=image.dtype)
    return torch.stack(torch.meshgrid(columns, rows, indexing="xy")).expand(batch, 2, height, width)


def full_filter(features: Tensor) -> Filter:
    """Returns the exact filter over all pairs of pixels; it holds N x N numbers for each image.

    Args:
        features: float [B,D,H,W].
    """
    flat = features.flatten(2).transpose(1, 2)
    # the differences themselves: by |a|^2 + |b|^2 - 2ab, colors of 0..255 lose three digits
    distances = torch.cdist(flat, flat, compute_mode="donot_use_mm_for_euclid_dist")
    kernel = gaussian(distances.square_())  # symmetric

    def apply(x: Tensor) -> Tensor:
        return (x.flatten(2) @ kernel).view(x.shape)

    return apply


def position_filter(image: Tensor, sigma: float) -> Filter:
    """Returns the exact filter over positions alone, which is one along the columns after one along the rows.

    Args:
        image: [B,C,H,W], for its size.
        sigma: standard deviation in pixels.
    """

    def kernel(length: int) -> Tensor:
        places = torch.arange(length, device=image.device, dtype=image.dtype) / sigma
        return gaussian((places[:, None] - places[None]).square())

    along_rows, along_columns = kernel(image.shape[-1]), kernel(image.shape[-2])

    def apply(x: Tensor) -> Tensor:
        return along_columns @ (x @ along_rows)

    return apply


class WindowFilter:
    """The filter over a square window around each pixel; pixels outside of the image count nothing.

    Args:
        kernels: float [B,1,H,W] for each offset of the window, row by row.
        size: side of the window in pixels, odd.
    """

    def __init__(self, kernels: list[Tensor], size: int):
        self.kernels, self.size = kernels, size

    @classmethod
    def of(cls, features: Tensor, size: int) -> "WindowFilter":
        """Returns the filter for features, float [B,D,H,W]; it holds N numbers for each offset and image."""
        kernels = []
        for here, there in _overlaps(features.shape[-2:], size):
            kernel = features.new_zeros(features.shape[0], 1, *features.shape[-2:])
            difference = features[(..., *here)] - features[(..., *there)]
            kernel[(..., *here)] = gaussian(difference.square().sum(1, keepdim=True))
            kernels.append(kernel)
        return cls(kernels, size)

    def __call__(self, x: Tensor) -> Tensor:
        """Filters maps [B,K,H,W]."""
        total = torch.zeros_like(x)
        for kernel, (here, there) in zip(self.kernels, _overlaps(x.shape[-2:], self.size)):
            total[(..., *here)] += kernel[(..., *here)] * x[(..., *there)]
        return total


def _overlaps(size: tuple[int, ...], window: int) -> Iterator[tuple[tuple[slice, slice], tuple[slice, slice]]]:
    """For each offset of a window: the pixels that have a neighbor there, and these neighbors."""
    reach = window // 2
    for y in range(-reach, reach + 1):
        rows, other_rows = _shifted(size[0], y)
        for x in range(-reach, reach + 1):
            columns, other_columns = _shifted(size[1], x)
            yield (rows, columns), (other_rows, other_columns)


def _shifted(length: int, offset: int) -> tuple[slice, slice]:
    start, end = max(0, -offset), max(0, min(length, length - offset))
    start = min(start, end)
    return slice(start, end), slice(start + offset, end + offset) if end > start else slice(0, 0)


def normalized(kernel: Filter, normalization: str, like: Tensor) -> Filter:
    """Returns a filter that is normalized by the sums of its rows.

    Args:
        kernel: the filter G.
        normalization: one of Normalization.
        like: a map [B,K,H,W] of the filter's size.
    """
    before, after = {"symmetric": (0.5, 0.5), "before": (1.0, 0.0), "after": (0.0, 1.0), "none": (0.0, 0.0)}[
        normalization
    ]
    if before == after == 0:
        return kernel
    sums = kernel(torch.ones_like(like[:, :1])) + LEAST_SUM
    ahead, behind = sums**-before, sums**-after

    def apply(x: Tensor) -> Tensor:
        return behind * kernel(ahead * x)

    return apply
