"""Means over pixels: what a pixel loss divides its sum by. B batch, K classes, H W image."""

import torch
from torch import Tensor

from segkit import dist

AVERAGES = ("valid", "all", "global")


def checked_average(average: str) -> str:
    """-> average itself; ValueError where it names no way of averaging."""
    if average not in AVERAGES:
        raise ValueError(f"average = {average!r}: there are {', '.join(AVERAGES)}")
    return average


def full_precision(logits: Tensor) -> Tensor:
    """float16 and bfloat16 -> float32 (the product of an autocast region); float32 and float64 stay as they are."""
    return logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits


def zero_of(*maps: Tensor) -> Tensor:
    """-> float32 [] (float64 of float64), 0 with a graph to all maps. Summed in full precision: a sum in half
    precision may be infinite, and 0 times it is NaN."""
    return 0 * sum(full_precision(one).sum() for one in maps)


def mean_over(total: Tensor, count: Tensor, size: int, average: str) -> Tensor:
    """Divides a sum over pixels by what `average` names.

    total: float [], sum over the valid pixels; count: float [], their number (or the sum of their weights);
    size: number of all pixels, ignored ones too -> float [].
    "valid": by count; "all": by size; "global": by the count of all processes over their number, so that the mean which
    data-parallel training takes over processes is the mean over all valid pixels of all of them. A count of 0 gives 0.
    """
    if average == "all":
        return total / size
    count = count.detach().to(total.dtype)
    if average == "global":
        count = dist.all_reduce_sum(count) / dist.world_size()
    return total / torch.where(count > 0, count, 1.0)


def float_vector(values: list[float] | None) -> Tensor | None:
    """A list of numbers of a config -> float32 [K], None stays None."""
    return None if values is None else torch.tensor(values, dtype=torch.float32)
