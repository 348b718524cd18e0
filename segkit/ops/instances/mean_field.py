"""Masks made to agree with the edges of the image, within their boxes. Lan et al., DiscoBox, ICCV 2021, section 3.2,
https://arxiv.org/abs/2105.06464. B images, n instances in the order of their images, h w map."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from segkit.ops.averaging import full_precision
from segkit.ops.instances.color_affinity import overlap

WINDOW = tuple((y, x) for y in (-1, 0, 1) for x in (-1, 0, 1))


def window_affinity(
    image: Tensor, *, weight: float = 2.0, color_width: float = 0.5, place_width: float = 30.0
) -> Tensor:
    """image: float [B,C,h,w], normalized -> float32 [B,9,h,w], of each pixel and those of the 3 x 3 window around it,
    itself included: weight exp(-|color difference|^2 / 2 color_width^2 - distance^2 / 2 place_width^2); 0 outside."""
    image = full_precision(image)
    affinity = image.new_zeros(len(image), len(WINDOW), *image.shape[2:])
    for k, shift in enumerate(WINDOW):
        here, there = overlap(shift, image.shape[2:])
        difference = (image[:, :, *here] - image[:, :, *there]).square().sum(1)
        distance = shift[0] ** 2 + shift[1] ** 2
        exponent = difference / (2 * color_width**2) + distance / (2 * place_width**2)
        affinity[:, k][:, *here] = weight * torch.exp(-exponent)
    return affinity


@torch.no_grad()
def mean_field(
    masks: Tensor, boxes: Tensor, affinity: Tensor, counts: Sequence[int], *, rounds: int = 10, doubt: float = 0.1
) -> Tensor:
    """masks: float [n,h,w] probabilities (of DiscoBox: means of teacher and student); boxes: float [n,h,w], 1 inside;
    affinity: float [B,9,h,w]; counts: B numbers of instances that add up to n -> bool [n,h,w], pseudo labels.

    Every round each pixel holds its label with probability 1 - doubt; it then takes the label that has the smaller sum
    of -log probabilities over the window, weighted by the affinity, foreground only in the box. The two sums differ by
    log((1 - doubt) / doubt) times a vote of +1 for each foreground and -1 for each background pixel.
    """
    strength = math.log((1 - doubt) / doubt)
    labels = full_precision(masks) * boxes > 0.5
    results = []
    for part, box, weights in zip(labels.split(tuple(counts)), boxes.split(tuple(counts)), affinity):
        for _ in range(rounds):
            sign = torch.where(part, strength, -strength)
            votes = torch.zeros_like(sign)
            for weight, shift in zip(weights, WINDOW):
                here, there = overlap(shift, sign.shape[1:])
                votes[:, *here] += weight[here] * sign[:, *there]
            part = box * torch.exp(votes) > 1
        results.append(part)
    return torch.cat(results)
