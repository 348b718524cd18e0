"""Neighbours of like color, and how far a mask treats them differently.

Tian et al., BoxInst, CVPR 2021, section 3.2, https://arxiv.org/abs/2012.02310.
B images, n instances in the order of their images, H W image, h w mask. The eight neighbours at distance 2 stand from
the upper left by rows.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from segkit.ops.averaging import full_precision

NEIGHBOURS = tuple((y, x) for y in (-2, 0, 2) for x in (-2, 0, 2) if (y, x) != (0, 0))


def small_lab(image: Tensor, *, stride: int = 4) -> Tensor:
    """image: uint8 or float [B,3,H,W] in 0..255, 0 in the padding -> float32 [B,3,H/stride,W/stride], means of blocks
    without their fraction, as L*a*b*."""
    return rgb_to_lab(F.avg_pool2d(image.float(), stride).to(torch.uint8))


def color_similarity(lab: Tensor, valid: Tensor) -> Tensor:
    """lab: float [B,3,h,w]; valid: bool or float [B,h,w], where there is an image -> float32 [B,8,h,w],
    exp(-|difference| / 2) to each neighbour (eq. 5 of the paper with its theta of 2), 0 where that is not valid."""
    similarity = torch.zeros(len(lab), len(NEIGHBOURS), *lab.shape[2:], device=lab.device)
    for k, shift in enumerate(NEIGHBOURS):
        here, there = overlap(shift, lab.shape[2:])
        distance = (full_precision(lab)[:, :, *here] - lab[:, :, *there]).square().sum(1).sqrt()
        similarity[:, k][:, *here] = torch.exp(-distance / 2) * valid[:, *there]
    return similarity


def overlap(shift: tuple[int, int], size: Sequence[int]) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """-> slices of the pixels whose neighbour at `shift` (y, x) lies in a map of `size`, and of these neighbours."""
    here = tuple(slice(max(0, -step), max(0, length - max(0, step))) for step, length in zip(shift, size))
    there = tuple(slice(max(0, step), max(0, length - max(0, -step))) for step, length in zip(shift, size))
    return here, there


def pairwise_disagreement(logits: Tensor, shift: tuple[int, int]) -> Tensor:
    """logits: float [n,h,w] -> float32 [n,h,w], -log of the probability that a pixel and its neighbour at `shift` are
    one thing, -log(p q + (1 - p)(1 - q)) (eq. 6 of the paper); 0 where the neighbour is outside."""
    here, there = overlap(shift, logits.shape[1:])
    logits = full_precision(logits)
    values = torch.zeros_like(logits)
    values[:, *here] = _disagreement(logits[:, *here], logits[:, *there])
    return values


def pairwise_sum(logits: Tensor, boxes: Tensor, weights: Tensor, counts: Sequence[int]) -> Tensor:
    """logits, boxes: float [n,h,w]; weights: float [B,8,h,w], of each pair of an image's pixels; counts: B numbers of
    instances that add up to n -> float32 [], the disagreements of all pairs times weight times the pixel's box."""
    return _PairwiseSum.apply(full_precision(logits), boxes, weights, tuple(counts))


def pair_count(boxes: Tensor, weights: Tensor, counts: Sequence[int]) -> Tensor:
    """As pairwise_sum -> float [], the sum of weight times box."""
    parts = [(part * one.sum(0)).sum() for part, one in zip(boxes.split(tuple(counts)), weights)]
    return torch.stack(parts).sum()


def _disagreement(a: Tensor, b: Tensor) -> Tensor:
    both = F.logsigmoid(a) + F.logsigmoid(b)
    neither = F.logsigmoid(-a) + F.logsigmoid(-b)
    return -torch.logaddexp(both, neither)


class _PairwiseSum(torch.autograd.Function):
    """One neighbour after another: eight maps per instance are never held. With r = p q / (p q + (1 - p)(1 - q)) the
    derivatives by the logits of p and q are p - r and q - r."""

    @staticmethod
    def forward(ctx, logits: Tensor, boxes: Tensor, weights: Tensor, counts: tuple[int, ...]) -> Tensor:
        """-> float []."""
        ctx.save_for_backward(logits, boxes, weights)
        ctx.counts = counts
        total = logits.new_zeros(())
        for k, shift in enumerate(NEIGHBOURS):
            here, there = overlap(shift, logits.shape[1:])
            for part, box, weight in zip(logits.split(counts), boxes.split(counts), weights[:, k]):
                values = _disagreement(part[:, *here], part[:, *there])
                total += (values * box[:, *here] * weight[here]).sum()
        return total

    @staticmethod
    def backward(ctx, to_total: Tensor):
        """to_total: float [] -> the gradient to the logits."""
        logits, boxes, weights = ctx.saved_tensors
        gradient, p = torch.zeros_like(logits), logits.sigmoid()
        parts = [values.split(ctx.counts) for values in (logits, p, boxes, gradient)]
        for k, shift in enumerate(NEIGHBOURS):
            here, there = overlap(shift, logits.shape[1:])
            for part, chance, box, to_part, weight in zip(*parts, weights[:, k]):
                # r is the sigmoid of the two logits' sum
                both = torch.sigmoid(part[:, *here] + part[:, *there])
                scale = box[:, *here] * weight[here]
                to_part[:, *here] += (chance[:, *here] - both) * scale
                to_part[:, *there] += (chance[:, *there] - both) * scale
        return gradient * to_total, None, None, None


XYZ_OF_RGB = ((0.412453, 0.357580, 0.180423), (0.212671, 0.715160, 0.072169), (0.019334, 0.119193, 0.950227))
WHITE = (0.95047, 1.0, 1.08883)


def rgb_to_lab(image: Tensor) -> Tensor:
    """image: uint8 [B,3,H,W] -> float32 [B,3,H,W], L in 0..100; in float64 inside: a small difference of colors is
    what is asked of it."""
    value = image.double() / 255
    linear = torch.where(value > 0.04045, ((value + 0.055) / 1.055) ** 2.4, value / 12.92)
    red, green, blue = linear.unbind(1)
    parts = []
    for weights, white in zip(XYZ_OF_RGB, WHITE):
        share = (weights[0] * red + weights[1] * green + weights[2] * blue) / white
        root = share.clamp_min(0.008856) ** (1 / 3)
        parts.append(torch.where(share > 0.008856, root, 7.787 * share + 16 / 116))
    x, y, z = parts
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], 1).float()
