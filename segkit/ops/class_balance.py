"""Class weights computed from how often the classes occur.

All functions take numbers [K] and return float64 [K]. A class that never occurs gets weight 0; enet_log gives it
1 / ln(c). K classes.
"""

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

Numbers: TypeAlias = Tensor | np.ndarray | Sequence[float]
"""One number for each class."""


def _per_class(values: Numbers) -> Tensor:
    return torch.as_tensor(values, dtype=torch.float64)


def _mean_one(weight: Tensor) -> Tensor:
    """Scales the weights so that those above 0 have mean 1."""
    occurs = weight > 0
    return weight * occurs.sum() / weight.sum() if occurs.any() else weight


def _inverse(values: Tensor) -> Tensor:
    """Returns 1 / value, and 0 for 0."""
    return torch.where(values > 0, 1 / values.clamp_min(torch.finfo(torch.float64).tiny), 0.0)


def balanced_alpha(frequencies: Numbers) -> Tensor:
    """Computes 1 / frequency, scaled to mean 1: the "balanced" alpha of a focal loss.

    Args:
        frequencies: numbers of pixels of each class [K], or their shares.

    Returns:
        float64 [K].
    """
    return _mean_one(_inverse(_per_class(frequencies)))


def effective_number(counts: Numbers, beta: float = 0.9999) -> Tensor:
    """Computes class-balanced weights (1 - beta) / (1 - beta^n), scaled to mean 1.

    Cui et al., CVPR 2019, eq. 2 and section 4.

    Args:
        counts: number n of examples of each class [K].
        beta: in 0..1; 0 weighs all classes equally, towards 1 the weights become 1 / n.

    Returns:
        float64 [K].
    """
    counts = _per_class(counts)
    seen = -torch.expm1(counts * torch.log(torch.tensor(beta, dtype=torch.float64)))
    return _mean_one(_inverse(seen))


def median_frequency(pixels: Numbers, pixels_of_images: Numbers) -> Tensor:
    """Computes median-frequency weights: the median of all class frequencies over the frequency of each class.

    The frequency of a class is its number of pixels over the number of pixels of all images that contain it. The median
    is taken over the classes that occur; for an even number it is the mean of the two middle ones. Eigen and Fergus,
    ICCV 2015, section 6.3.2, as SegNet uses it.

    Args:
        pixels: number of pixels of each class [K].
        pixels_of_images: for each class [K], the number of pixels of all images that contain it.

    Returns:
        float64 [K].
    """
    pixels, of_images = _per_class(pixels), _per_class(pixels_of_images)
    frequency = pixels * _inverse(of_images)
    occurs = frequency > 0
    median = frequency[occurs].quantile(0.5) if occurs.any() else frequency.sum()
    return median * _inverse(frequency)


def enet_log(frequencies: Numbers, c: float = 1.02) -> Tensor:
    """Computes the class weights of ENet, 1 / ln(c + share of the pixels).

    Paszke et al., ENet, arXiv 1606.02147, section 5.1.

    Args:
        frequencies: numbers of pixels of each class [K], or their shares.
        c: above 1; the smaller, the larger the weights of rare classes.

    Returns:
        float64 [K].
    """
    frequencies = _per_class(frequencies)
    return 1 / torch.log(c + frequencies / frequencies.sum().clamp_min(torch.finfo(torch.float64).tiny))
