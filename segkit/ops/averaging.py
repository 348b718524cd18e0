"""Helpers of losses: means over pixels, full precision, and zeros with a graph.

B batch, K classes, H W image.
"""

import torch
from torch import Tensor

from segkit import dist

AVERAGES = ("valid", "all", "global")
"""Ways to average a loss over pixels, see mean_over."""


def checked_average(average: str) -> str:
    """Returns `average` after checking that it is one of AVERAGES.

    Raises:
        ValueError: for any other name.
    """
    if average not in AVERAGES:
        raise ValueError(f"average = {average!r}: must be one of {', '.join(map(repr, AVERAGES))}")
    return average


def full_precision(logits: Tensor) -> Tensor:
    """Converts float16 and bfloat16, as autocast gives them, to float32; other dtypes stay."""
    return logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits


def zero_of(first: Tensor, *others: Tensor) -> Tensor:
    """Returns a zero that is connected to the graph of all maps, so that their parameters get a gradient of 0.

    Args:
        first, others: float of any shape. They are summed in full precision: a sum in half precision may be infinite,
            and 0 times infinity is NaN.

    Returns:
        float32 []; float64 for maps of float64.
    """
    total = full_precision(first).sum()
    for values in others:
        total = total + full_precision(values).sum()
    return 0 * total


def mean_over(total: Tensor, count: Tensor, size: int, average: str) -> Tensor:
    """Divides a sum over pixels by the number of pixels that `average` names.

    Args:
        total: float [], the sum over the valid pixels.
        count: float [], the number of valid pixels or the sum of their weights.
        size: the number of all pixels, ignored ones included.
        average: "valid" divides by `count`, "all" by `size`. "global" divides by the mean count per process, so that
            the mean over processes, which data-parallel training takes, is the mean over all valid pixels of all
            processes. A count of 0 gives 0.

    Returns:
        float [].
    """
    if average == "all":
        return total / size
    count = count.detach().to(total.dtype)
    if average == "global":
        count = dist.all_reduce_sum(count) / dist.world_size()
    return total / torch.where(count > 0, count, 1.0)


def float_vector(values: list[float] | None) -> Tensor | None:
    """Converts a list of numbers from a config to float32 [K]; None stays None."""
    return None if values is None else torch.tensor(values, dtype=torch.float32)
