"""Mean-field inference: makes masks agree with the edges of the image, inside of their boxes.

Lan et al., DiscoBox, ICCV 2021, section 3.2, https://arxiv.org/abs/2105.06464. B batch, n instances in the order of
their images, C channels, h w map.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from segkit.ops.averaging import full_precision
from segkit.ops.instances.color_affinity import overlap
from segkit.ops.instances.color_windows import color_windows, window_sums

LEAST, MOST = 0.1, 0.9
"""Bounds of the probabilities of soft_mean_field."""

NO_DIVISION_BY_ZERO = 1e-6
"""Added to the sum of both labels' weights by soft_mean_field. They are small: it moves the result."""

WINDOW = tuple((y, x) for y in (-1, 0, 1) for x in (-1, 0, 1))
"""Offsets (y, x) of the 3 x 3 window, row by row."""


def window_affinity(
    image: Tensor, *, weight: float = 2.0, color_sigma: float = 0.5, position_sigma: float = 30.0
) -> Tensor:
    """Computes the affinity of each pixel and those of the 3 x 3 window around it, itself included.

    It is weight exp(-|color difference|^2 / (2 color_sigma^2) - distance^2 / (2 position_sigma^2)).

    Args:
        image: float [B,C,h,w], normalized.
        weight: of an equal color at distance 0.
        color_sigma: in units of the normalized image.
        position_sigma: in pixels of the map.

    Returns:
        float32 [B,9,h,w], 0 where the neighbour is outside of the image.
    """
    image = full_precision(image)
    affinity = image.new_zeros(len(image), len(WINDOW), *image.shape[2:])
    for k, shift in enumerate(WINDOW):
        here, there = overlap(shift, image.shape[2:])
        difference = (image[:, :, *here] - image[:, :, *there]).square().sum(1)
        distance = shift[0] ** 2 + shift[1] ** 2
        exponent = difference / (2 * color_sigma**2) + distance / (2 * position_sigma**2)
        affinity[:, k][:, *here] = weight * torch.exp(-exponent)
    return affinity


@torch.no_grad()
def mean_field(
    masks: Tensor, boxes: Tensor, affinity: Tensor, counts: Sequence[int], *, rounds: int = 10, doubt: float = 0.1
) -> Tensor:
    """Computes pseudo labels from mask probabilities by mean-field inference.

    In every round each pixel has its label with probability 1 - doubt. It then takes the label with the smaller sum of
    -log probabilities over the window, weighted by the affinity; foreground only inside of the box. The two sums differ
    by log((1 - doubt) / doubt) times a vote of +1 for each foreground and -1 for each background pixel.

    Args:
        masks: float [n,h,w] probabilities; of DiscoBox the means of student and teacher.
        boxes: float [n,h,w], 1 inside.
        affinity: float [B,9,h,w], see window_affinity.
        counts: the number of instances of each image, n in all.
        rounds: number of rounds.
        doubt: probability that a label is wrong.

    Returns:
        bool [n,h,w].
    """
    strength = math.log((1 - doubt) / doubt)
    initial = full_precision(masks) * boxes > 0.5
    results = []
    for labels, box, weights in zip(initial.split(tuple(counts)), boxes.split(tuple(counts)), affinity):
        for _ in range(rounds):
            sign = torch.where(labels, strength, -strength)
            votes = torch.zeros_like(sign)
            for weight, shift in zip(weights, WINDOW):
                here, there = overlap(shift, sign.shape[1:])
                votes[:, *here] += weight[here] * sign[:, *there]
            labels = box * torch.exp(votes) > 1
        results.append(labels)
    return torch.cat(results)


@torch.no_grad()
def soft_mean_field(
    masks: Tensor, boxes: Tensor, image: Tensor, *, rounds: int = 100, kernel: int = 3, zeta: float = 0.1
) -> Tensor:
    """Computes mask probabilities by mean-field inference that keeps probabilities from round to round.

    Lan et al., MAL, CVPR 2023, section 3.3, https://arxiv.org/abs/2301.03992. q starts from clip(masks * boxes, 0.1,
    0.9). In each round a1 = boxes exp(sum_j K_ij log q_j), a0 = exp(sum_j K_ij log(1 - q_j)) and q = clip(a1 / (1e-6 +
    a0 + a1), 0.1, 0.9), where K_ij = exp(-|f_i - f_j|^2 / (2 zeta^2)) on the window around i, i included. It is
    computed in float64: rounding decides between two ends where q is near 0.5.

    Args:
        masks: float [n,h,w] probabilities.
        boxes: float [n,h,w], 1 inside, soft edges allowed.
        image: float [n,C,h,w], the image of each mask.
        rounds: number of rounds.
        kernel: side of the window.
        zeta: color difference that counts as far.

    Returns:
        float64 [n,h,w] in 0.1..0.9, without gradient; above 0.5 is the object.
    """
    boxes = boxes.double()
    probabilities = (masks.double() * boxes).clamp(LEAST, MOST)
    results = []
    for start, box, windows in zip(
        probabilities, boxes, color_windows(image.double(), kernel=kernel, scale=2 * zeta**2)
    ):
        q = start
        for _ in range(rounds):
            object_sum, rest_sum = window_sums(torch.stack([q.log(), (1 - q).log()]), windows)
            of_object, of_rest = box * object_sum.exp(), rest_sum.exp()
            q = (of_object / (NO_DIVISION_BY_ZERO + of_rest + of_object)).clamp(LEAST, MOST)
        results.append(q)
    return torch.stack(results) if results else probabilities
