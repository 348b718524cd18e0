"""Local consistency: masks are diffused among neighbouring pixels of similar color.

Li et al., Box2Mask, TPAMI 2024, section 3.4 (local consistency module), https://arxiv.org/abs/2212.01579. B batch, n
instances in the order of their images, h w mask.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from segkit.ops.averaging import full_precision

DILATION = 2
"""Distance of the neighbours in pixels."""

SHIFTS = tuple((y, x) for y in (0, 2, 4) for x in (0, 2, 4) if (y, x) != (2, 2))
"""Offsets of the eight neighbours in a map padded by DILATION, row by row from the upper left."""

SHARPNESS = 0.3
"""Color difference, in standard deviations, at which a weight falls to exp(-1) of that of an equal color."""

VALUES_AT_ONCE = 2**16
"""Values of masks that a CPU takes through all rounds together: as many as its cache holds beside the weights."""


def local_affinity(image: Tensor) -> Tensor:
    """Computes the weight of each of the eight neighbours at distance 2 by its color.

    The difference between a neighbour and the pixel is measured in standard deviations (unbiased) of the eight
    neighbours, each channel by itself. Minus its square over SHARPNESS squared, averaged over channels, goes through a
    softmax over the neighbours.

    Args:
        image: float [B,3,h,w].

    Returns:
        float32 [B,8,h,w]; the weights of a pixel add up to 1.
    """
    image = full_precision(image)
    padded = F.pad(image, [DILATION] * 4, mode="replicate")
    around = torch.stack([_shifted(padded, shift, image.shape) for shift in SHIFTS], 2)
    deviation = around.std(2, keepdim=True) + 1e-8
    distance = (around - image.unsqueeze(2)).abs() / deviation / SHARPNESS
    return (-distance.square()).mean(1).softmax(1)


def diffuse(masks: Tensor, affinity: Tensor, counts: Sequence[int], *, iterations: int = 10) -> Tensor:
    """Replaces each pixel by the weighted mean of its neighbours, several times. The gradient reaches the masks alone.

    Args:
        masks: float [n,h,w] in the order of their images.
        affinity: float [B,8,h,w], see local_affinity.
        counts: the number of instances of each image, n in all.
        iterations: number of rounds. Weights of Box2Mask published before April 2023 were trained with what is 1 here:
            each of their ten rounds started from the first mask again.

    Returns:
        float32 [n,h,w].
    """
    return _Diffusion.apply(full_precision(masks), affinity, tuple(counts), iterations)


def local_consistency(
    masks: Tensor,
    boxes: Tensor,
    affinity: Tensor,
    counts: Sequence[int],
    groups: Tensor,
    *,
    number: int,
    iterations: int = 10,
) -> Tensor:
    """Local consistency loss of groups of masks: their mean absolute change by diffusion, inside of their boxes.

    Args:
        masks: float [n,h,w] in the order of their images.
        boxes: float [n,h,w] box masks.
        affinity, counts, iterations: see diffuse.
        groups: int64 [n], the group of each mask, such as its level or its prediction set.
        number: of groups.

    Returns:
        float32 [number], the mean over the pixels of all boxes of a group together; 0 for a group without an instance.
    """
    masks = full_precision(masks)
    moved = ((diffuse(masks, affinity, counts, iterations=iterations) - masks).abs() * boxes).sum((1, 2))
    rows = torch.stack([moved, boxes.sum((1, 2), dtype=moved.dtype)])
    sums = rows.new_zeros(2, number).index_add(1, groups, rows)
    return sums[0] / sums[1].clamp_min(1)


def _shifted(padded: Tensor, shift: tuple[int, int], shape: Sequence[int]) -> Tensor:
    return padded[..., shift[0] : shift[0] + shape[-2], shift[1] : shift[1] + shape[-1]]


class _Diffusion(torch.autograd.Function):
    """Diffusion is a linear map, the same in every round: its transpose is applied as often, and no round is kept."""

    @staticmethod
    def forward(ctx: Any, masks: Tensor, affinity: Tensor, counts: tuple[int, ...], iterations: int) -> Tensor:
        """Returns float [n,h,w]."""
        ctx.save_for_backward(affinity)
        ctx.counts, ctx.iterations = counts, iterations
        parts = _parts(masks, affinity.to(masks.dtype), counts)
        return torch.cat([_diffused(some, weights, iterations) for some, weights in parts])

    @staticmethod
    def backward(ctx: Any, to_output: Tensor) -> tuple[Tensor, None, None, None]:
        """Takes the gradient float [n,h,w] to the output; returns that to the masks."""
        parts = _parts(to_output, ctx.saved_tensors[0].to(to_output.dtype), ctx.counts)
        return torch.cat([_transposed(some, weights, ctx.iterations) for some, weights in parts]), None, None, None


def _parts(maps: Tensor, affinity: Tensor, counts: Sequence[int]) -> Iterator[tuple[Tensor, Tensor]]:
    """The maps [n,h,w] that are computed together, each time with the affinity of their image."""
    for of_image, weights in zip(maps.split(list(counts)), affinity):
        number = max(1, VALUES_AT_ONCE // weights[0].numel()) if maps.device.type == "cpu" else max(1, len(of_image))
        for some in of_image.split(number):
            yield some, weights


def _diffused(masks: Tensor, affinity: Tensor, iterations: int) -> Tensor:
    """Diffuses the masks [n,h,w] of one image by its affinity [8,h,w]."""
    for _ in range(iterations):
        padded = F.pad(masks.unsqueeze(1), [DILATION] * 4, mode="replicate")[:, 0]
        masks = torch.zeros_like(masks)
        for weight, shift in zip(affinity, SHIFTS):
            masks.addcmul_(_shifted(padded, shift, masks.shape), weight)
    return masks


def _transposed(gradient: Tensor, affinity: Tensor, iterations: int) -> Tensor:
    """The transpose of _diffused: each pixel hands its gradient to its neighbours, and the padding hands it on."""
    n, height, width = gradient.shape
    for _ in range(iterations):
        padded = gradient.new_zeros(n, height + 2 * DILATION, width + 2 * DILATION)
        for weight, shift in zip(affinity, SHIFTS):
            _shifted(padded, shift, gradient.shape).addcmul_(gradient, weight)
        gradient = _folded(_folded(padded, 1), 2)
    return gradient


def _folded(padded: Tensor, dim: int) -> Tensor:
    """Cuts off the replicated border along one dimension, after adding it to the edge it is a copy of."""
    size = padded.shape[dim] - 2 * DILATION
    inner = padded.narrow(dim, DILATION, size)
    inner.narrow(dim, 0, 1).add_(padded.narrow(dim, 0, DILATION).sum(dim, keepdim=True))
    inner.narrow(dim, size - 1, 1).add_(padded.narrow(dim, DILATION + size, DILATION).sum(dim, keepdim=True))
    return inner
