"""Masks diffused among neighbours of alike color. Li et al., Box2Mask, TPAMI 2024, section 3.4 (local consistency
module), https://arxiv.org/abs/2212.01579. B images, n instances in the order of their images, h w mask."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from segkit.ops.averaging import full_precision

DILATION = 2
SHIFTS = tuple((y, x) for y in (0, 2, 4) for x in (0, 2, 4) if (y, x) != (2, 2))
"""Places of the eight neighbours in a map padded by DILATION, from the upper left by rows."""

SHARPNESS = 0.3


def local_affinity(image: Tensor) -> Tensor:
    """image: float [B,3,h,w] -> float32 [B,8,h,w], how much each neighbour at distance 2 counts (they add up to 1).

    A neighbour's difference to the pixel is taken in standard deviations (unbiased) of the eight, each channel for
    itself; minus its square over SHARPNESS squared, mean over channels, goes through a softmax.
    """
    image = full_precision(image)
    padded = F.pad(image, [DILATION] * 4, mode="replicate")
    around = torch.stack([_shifted(padded, shift, image.shape) for shift in SHIFTS], 2)
    deviation = around.std(2, keepdim=True) + 1e-8
    distance = (around - image.unsqueeze(2)).abs() / deviation / SHARPNESS
    return (-distance.square()).mean(1).softmax(1)


def diffuse(masks: Tensor, affinity: Tensor, counts: Sequence[int], *, iterations: int = 10) -> Tensor:
    """masks: float [n,h,w] in the order of their images; affinity: float [B,8,h,w]; counts: B numbers of instances that
    add up to n -> float32 [n,h,w], each pixel replaced `iterations` times by the weighted mean of its neighbours.

    The gradient reaches the masks alone. iterations = 1 is what weights of Box2Mask published before April 2023 were
    trained with: each of their ten rounds started from the first mask again.
    """
    return _Diffusion.apply(full_precision(masks), affinity, tuple(counts), iterations)


def local_consistency(
    masks: Tensor, boxes: Tensor, affinity: Tensor, counts: Sequence[int], *, iterations: int = 10
) -> Tensor:
    """masks, boxes: float [n,h,w]; affinity, counts: as diffuse takes them -> float32 [], how far diffusion moves the
    masks, mean over the pixels of all boxes together: 0 without an instance."""
    moved = movements(masks, boxes, affinity, counts, iterations=iterations)
    return moved.sum() / boxes.sum().clamp_min(1)


def movements(masks: Tensor, boxes: Tensor, affinity: Tensor, counts: Sequence[int], *, iterations: int = 10) -> Tensor:
    """As local_consistency -> float32 [n], how far each mask is moved in its box, the sum over pixels."""
    masks = full_precision(masks)
    moved = diffuse(masks, affinity, counts, iterations=iterations) - masks
    return (moved.abs() * boxes).sum((1, 2))


def _shifted(padded: Tensor, shift: tuple[int, int], shape: Sequence[int]) -> Tensor:
    return padded[..., shift[0] : shift[0] + shape[-2], shift[1] : shift[1] + shape[-1]]


class _Diffusion(torch.autograd.Function):
    """A linear map, the same in every round: its transpose is applied as often, and no round is kept."""

    @staticmethod
    def forward(ctx, masks: Tensor, affinity: Tensor, counts: tuple[int, ...], iterations: int) -> Tensor:
        """-> float [n,h,w]."""
        ctx.save_for_backward(affinity)
        ctx.counts, ctx.iterations = counts, iterations
        affinity = affinity.to(masks.dtype)
        return torch.cat([_diffused(part, one, iterations) for part, one in zip(masks.split(counts), affinity)])

    @staticmethod
    def backward(ctx, to_output: Tensor):
        """to_output: float [n,h,w] -> the gradient to the masks."""
        affinity = ctx.saved_tensors[0].to(to_output.dtype)
        parts = zip(to_output.split(ctx.counts), affinity)
        return torch.cat([_transposed(part, one, ctx.iterations) for part, one in parts]), None, None, None


def _diffused(masks: Tensor, affinity: Tensor, iterations: int) -> Tensor:
    """masks: [n,h,w] of one image; affinity: [8,h,w] -> [n,h,w]."""
    for _ in range(iterations):
        padded = F.pad(masks.unsqueeze(1), [DILATION] * 4, mode="replicate")[:, 0]
        masks = torch.zeros_like(masks)
        for weight, shift in zip(affinity, SHIFTS):
            masks.addcmul_(_shifted(padded, shift, masks.shape), weight)
    return masks


def _transposed(gradient: Tensor, affinity: Tensor, iterations: int) -> Tensor:
    """The transpose of _diffused: each pixel hands its gradient to the neighbours, the padding its own to the edge."""
    n, height, width = gradient.shape
    for _ in range(iterations):
        padded = gradient.new_zeros(n, height + 2 * DILATION, width + 2 * DILATION)
        for weight, shift in zip(affinity, SHIFTS):
            _shifted(padded, shift, gradient.shape).addcmul_(gradient, weight)
        gradient = _folded(_folded(padded, 1), 2)
    return gradient


def _folded(padded: Tensor, dim: int) -> Tensor:
    """Adds the replicated border along one dimension to the edge it is a copy of -> without that border."""
    size = padded.shape[dim] - 2 * DILATION
    inner = padded.narrow(dim, DILATION, size)
    inner.narrow(dim, 0, 1).add_(padded.narrow(dim, 0, DILATION).sum(dim, keepdim=True))
    inner.narrow(dim, size - 1, 1).add_(padded.narrow(dim, DILATION + size, DILATION).sum(dim, keepdim=True))
    return inner
