"""The gradient of the Lovász extension of the Jaccard loss. Berman et al., CVPR 2018, https://arxiv.org/abs/1705.08790.

R rows, N elements of a row. A row is a set of pixels that is sorted by itself: one class of the batch or of one image.
"""

import torch
from torch import Tensor

# bits of the largest float32 that is not NaN; larger errors get smaller keys
INFINITY_BITS = 0x7F800000
LARGEST_INT32 = 0x7FFFFFFF
# a key holds the row above bit 32, the error in bits 1 to 31 and the foreground flag in bit 0
ROW = 1 << 32


def lovasz_weights(signed_errors: Tensor, row: Tensor, num_rows: int) -> Tensor:
    """Computes the weight of each error in the Lovász extension of the Jaccard loss.

    The weight of a pixel is the step of the Jaccard loss when pixels are reached in order of decreasing error (theorem
    1 and algorithm 1 of the paper). Of a row without foreground, the largest error has weight 1 and the others 0.

    Args:
        signed_errors: float [...], the absolute errors; the sign bit marks foreground (-0.0 for a foreground error of
            0). Pixels that take no part are +0.0; they get a weight too, but add nothing as long as their error has no
            gradient.
        row: int64 of one dimension or more that broadcasts to [...]: the row of each error, 0 to R - 1. All rows have
            the same number of elements.
        num_rows: R.

    Returns:
        float [...], without a graph.
    """
    with torch.no_grad():
        order_of = _order_of_doubles if signed_errors.dtype == torch.float64 else _order_by_keys
        order, foreground = order_of(signed_errors.contiguous(), row, num_rows)
        weights = _steps_of_jaccard(foreground, signed_errors.dtype)
        flat = torch.empty_like(weights).view(-1).scatter_(0, order.view(-1), weights.view(-1))
        return flat.view(signed_errors.shape)


def _order_by_keys(signed_errors: Tensor, row: Tensor, num_rows: int) -> tuple[Tensor, Tensor]:
    """Returns positions int64 [R,N] and foreground flags bool [R,N], each row in order of decreasing error.

    One radix sort of integers serves all rows. It is several times faster than a comparison sort of floats, which have
    the same order as their bits, and it carries the foreground flags along, so that no random access gathers them.
    """
    bits = signed_errors.view(torch.int32)
    keys = torch.sub(row * ROW + 2 * INFINITY_BITS, bits & LARGEST_INT32, alpha=2)
    keys, order = keys.add_(bits < 0).view(-1).sort()
    return order.view(num_rows, -1), keys.bitwise_and_(1).bool().view(num_rows, -1)


def _order_of_doubles(signed_errors: Tensor, row: Tensor, num_rows: int) -> tuple[Tensor, Tensor]:
    """Does what _order_by_keys does, by two stable sorts in the full precision of float64."""
    order = signed_errors.abs().view(-1).sort(descending=True, stable=True).indices
    order = order[row.expand_as(signed_errors).reshape(-1)[order].sort(stable=True).indices].view(num_rows, -1)
    return order, signed_errors.signbit().view(-1)[order]


def _steps_of_jaccard(foreground: Tensor, dtype: torch.dtype) -> Tensor:
    """Returns the Jaccard loss after each pixel minus the loss before it, float [R,N].

    foreground: bool [R,N] in order of decreasing error. With G true pixels, f of them and b others so far, the loss is
    1 - (G - f) / (G + b): a true pixel adds 1 / (G + b), another one (G - f) / ((G + b) (G + b + 1)). No two nearly
    equal numbers are subtracted.
    """
    found = foreground.cumsum(1, dtype=torch.int32)
    missing = (found[:, -1:] - found).to(dtype)
    rank = torch.arange(found.shape[1], device=found.device, dtype=torch.int32)
    union = (rank + found[:, -1:] - found).to(dtype)  # G + b: after a true pixel b = rank + 1 - found
    union = torch.where(foreground, union + 1, union)
    steps = torch.where(foreground, 1 / union, missing / (union * (union + 1)).clamp_min(1))
    return torch.where(found[:, -1:] > 0, steps, (rank == 0).to(dtype))
