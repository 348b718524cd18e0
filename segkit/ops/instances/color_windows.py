"""Weights of the pixels in a window by their color, and masks that spread among pixels of like color in their boxes.

Li et al., APro, NeurIPS 2023, section 3.3 (local affinity propagation), https://arxiv.org/abs/2310.10533. B batch, n
instances in the order of their images, C channels, h w map, W = kernel^2 positions of the window, row by row.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from segkit.ops.averaging import full_precision
from segkit.ops.instances.color_affinity import overlap

NO_DIVISION_BY_ZERO = 1e-10
"""Added to the sum of a window's weights, as in the authors' code."""


def window_shifts(kernel: int) -> list[tuple[int, int]]:
    """Returns the offsets (y, x) of a window's pixels, row by row; `kernel` is the side, an odd number."""
    steps = range(-(kernel // 2), kernel // 2 + 1)
    return [(y, x) for y in steps for x in steps]


def color_windows(image: Tensor, *, kernel: int, scale: float) -> Tensor:
    """Computes the weight exp(-|color difference|^2 / scale) of each pixel of the window around each pixel.

    Args:
        image: float [B,C,h,w].
        kernel: side of the window.
        scale: squared difference at which a weight falls to exp(-1).

    Returns:
        float32 [B,W,h,w], 1 for the pixel itself, 0 where the neighbour is outside of the image; float64 for an image
        of float64.
    """
    image = full_precision(image)
    shifts = window_shifts(kernel)
    weights = image.new_zeros(len(image), len(shifts), *image.shape[2:])
    for k, shift in enumerate(shifts):
        here, there = overlap(shift, image.shape[2:])
        distance = (image[:, :, *here] - image[:, :, *there]).square().sum(1)
        weights[:, k][:, *here] = torch.exp(-distance / scale)
    return weights


def window_sums(masks: Tensor, weights: Tensor) -> Tensor:
    """Sums the window around each pixel, weighted.

    Args:
        masks: float [n,h,w].
        weights: float [W,h,w] of their image, see color_windows.

    Returns:
        float [n,h,w].
    """
    kernel = round(len(weights) ** 0.5)
    sums = torch.zeros_like(masks)
    for weight, shift in zip(weights, window_shifts(kernel)):
        here, there = overlap(shift, masks.shape[1:])
        sums[:, *here] += weight[here] * masks[:, *there]
    return sums


@torch.no_grad()
def spread_in_boxes(
    masks: Tensor, boxes: Tensor, weights: Tensor, counts: Sequence[int], *, rounds: int = 20
) -> Tensor:
    """Replaces each pixel by the weighted mean of its window, several times; outside of the boxes masks stay 0.

    Args:
        masks: float [n,h,w] probabilities.
        boxes: float [n,h,w] box masks, 0 outside.
        weights: float [B,W,h,w], see color_windows.
        counts: the number of instances of each image, n in all.
        rounds: number of rounds.

    Returns:
        float32 [n,h,w], without gradient.
    """
    started = full_precision(masks) * boxes
    results = []
    for spread, box, around in zip(started.split(tuple(counts)), boxes.split(tuple(counts)), weights):
        inverse = box / (around.sum(0) + NO_DIVISION_BY_ZERO)
        for _ in range(rounds):
            spread = window_sums(spread, around) * inverse
        results.append(spread)
    return torch.cat(results)
