"""Pairwise loss of neighbouring pixels of similar color.

Tian et al., BoxInst, CVPR 2021, section 3.2, https://arxiv.org/abs/2012.02310. B batch, n instances in the order of
their images, H W image, h w mask. The eight neighbours of a pixel at distance 2 are numbered row by row from the upper
left.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from segkit.ops.averaging import full_precision

NEIGHBOURS = tuple((y, x) for y in (-2, 0, 2) for x in (-2, 0, 2) if (y, x) != (0, 0))
"""Offsets (y, x) of the eight neighbours in pixels."""

XYZ_OF_RGB = ((0.412453, 0.357580, 0.180423), (0.212671, 0.715160, 0.072169), (0.019334, 0.119193, 0.950227))
WHITE = (0.95047, 1.0, 1.08883)
"""XYZ of white under D65."""


def small_lab(image: Tensor, *, stride: int = 4) -> Tensor:
    """Reduces an image by averaging blocks and converts it to L*a*b*.

    Args:
        image: uint8 or float [B,3,H,W] RGB in 0..255, 0 in the padding.
        stride: pixels per side of a block; means lose their fraction.

    Returns:
        float32 [B,3,H/stride,W/stride].
    """
    return rgb_to_lab(F.avg_pool2d(image.float(), stride).to(torch.uint8))


def color_similarity(lab: Tensor, valid: Tensor) -> Tensor:
    """Computes the color similarity exp(-|difference| / 2) of each pixel and its neighbours (eq. 5, theta = 2).

    Args:
        lab: float [B,3,h,w], L*a*b* colors.
        valid: bool or float [B,h,w], 1 inside of the image.

    Returns:
        float32 [B,8,h,w], 0 where the neighbour is not valid.
    """
    similarity = torch.zeros(len(lab), len(NEIGHBOURS), *lab.shape[2:], device=lab.device)
    for k, shift in enumerate(NEIGHBOURS):
        here, there = overlap(shift, lab.shape[2:])
        distance = (full_precision(lab)[:, :, *here] - lab[:, :, *there]).square().sum(1).sqrt()
        similarity[:, k][:, *here] = torch.exp(-distance / 2) * valid[:, *there]
    return similarity


def overlap(shift: tuple[int, int], size: Sequence[int]) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Finds the part of a map in which pixels have a neighbour at a given offset.

    Args:
        shift: (y, x) from a pixel to its neighbour.
        size: (h, w) of the map.

    Returns:
        Row and column slices of these pixels, and those of their neighbours.
    """
    here = tuple(slice(max(0, -step), max(0, length - max(0, step))) for step, length in zip(shift, size))
    there = tuple(slice(max(0, step), max(0, length - max(0, -step))) for step, length in zip(shift, size))
    return here, there


def pairwise_sum(logits: Tensor, boxes: Tensor, weights: Tensor, counts: Sequence[int]) -> Tensor:
    """Sums the pairwise loss over all pairs of neighbours (eq. 6 of the paper).

    The loss of a pair is -log(p q + (1 - p)(1 - q)), the negative log probability that both pixels have one label,
    times the weight of the pair and the box value of its first pixel. Pairs that reach outside of the map are left out.

    Args:
        logits: float [n,h,w].
        boxes: float [n,h,w].
        weights: float [B,8,h,w] of the pairs of each image; [1,8,n,h,w] of the pairs of each instance of one image.
        counts: the number of instances of each image, n in all.

    Returns:
        float32 [].
    """
    return _PairwiseSum.apply(full_precision(logits), boxes, weights, tuple(counts))


def pair_count(boxes: Tensor, weights: Tensor, counts: Sequence[int]) -> Tensor:
    """Sums weight times box value over all pairs, the divisor of pairwise_sum.

    Args:
        boxes, weights, counts: see pairwise_sum.

    Returns:
        float [].
    """
    by_image = zip(boxes.split(tuple(counts)), weights)
    sums = [(image_boxes * image_weights.sum(0)).sum() for image_boxes, image_weights in by_image]
    return torch.stack(sums).sum()


def _disagreement(a: Tensor, b: Tensor) -> Tensor:
    """The loss of pairs with logits a and b."""
    both = F.logsigmoid(a) + F.logsigmoid(b)
    neither = F.logsigmoid(-a) + F.logsigmoid(-b)
    return -torch.logaddexp(both, neither)


class _PairwiseSum(torch.autograd.Function):
    """Takes one neighbour after the other, so that eight maps per instance are never held.

    With r = p q / (p q + (1 - p)(1 - q)) the derivatives by the logits of p and q are p - r and q - r.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, boxes: Tensor, weights: Tensor, counts: tuple[int, ...]) -> Tensor:
        """Returns float []."""
        ctx.save_for_backward(logits, boxes, weights)
        ctx.counts = counts
        total = logits.new_zeros(())
        for k, shift in enumerate(NEIGHBOURS):
            here, there = overlap(shift, logits.shape[1:])
            for image_logits, box, weight in zip(logits.split(counts), boxes.split(counts), weights[:, k]):
                values = _disagreement(image_logits[:, *here], image_logits[:, *there])
                total += (values * box[:, *here] * weight[..., *here]).sum()
        return total

    @staticmethod
    def backward(ctx: Any, to_total: Tensor) -> tuple[Tensor, None, None, None]:
        """Takes the gradient float [] to the sum; returns the gradient to the logits."""
        logits, boxes, weights = ctx.saved_tensors
        gradient, p = torch.zeros_like(logits), logits.sigmoid()
        by_image = [values.split(ctx.counts) for values in (logits, p, boxes, gradient)]
        for k, shift in enumerate(NEIGHBOURS):
            here, there = overlap(shift, logits.shape[1:])
            for image_logits, image_p, box, image_gradient, weight in zip(*by_image, weights[:, k]):
                # r is the sigmoid of the sum of both logits
                both = torch.sigmoid(image_logits[:, *here] + image_logits[:, *there])
                scale = box[:, *here] * weight[..., *here]
                image_gradient[:, *here] += (image_p[:, *here] - both) * scale
                image_gradient[:, *there] += (image_p[:, *there] - both) * scale
        return gradient * to_total, None, None, None


def rgb_to_lab(image: Tensor) -> Tensor:
    """Converts RGB to L*a*b*; computed in float64, as small differences of colors matter.

    Args:
        image: uint8 [B,3,H,W].

    Returns:
        float32 [B,3,H,W], L in 0..100.
    """
    value = image.double() / 255
    linear = torch.where(value > 0.04045, ((value + 0.055) / 1.055) ** 2.4, value / 12.92)
    red, green, blue = linear.unbind(1)
    xyz = []
    for weights, white in zip(XYZ_OF_RGB, WHITE):
        share = (weights[0] * red + weights[1] * green + weights[2] * blue) / white
        root = share.clamp_min(0.008856) ** (1 / 3)
        xyz.append(torch.where(share > 0.008856, root, 7.787 * share + 16 / 116))
    x, y, z = xyz
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], 1).float()
