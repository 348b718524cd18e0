"""Weights of classes from how often they occur. All functions: numbers [K] -> float64 [K]; a class that never occurs
gets weight 0, but 1 / ln(c) by enet_log."""

import torch
from torch import Tensor


def _per_class(values: Tensor | list[float]) -> Tensor:
    return torch.as_tensor(values, dtype=torch.float64)


def _mean_one(weight: Tensor) -> Tensor:
    """Scales the weights so that those above 0 have mean 1."""
    occurs = weight > 0
    return weight * occurs.sum() / weight.sum() if occurs.any() else weight


def _inverse(values: Tensor) -> Tensor:
    return torch.where(values > 0, 1 / values.clamp_min(torch.finfo(torch.float64).tiny), 0.0)


def balanced_alpha(frequencies: Tensor | list[float]) -> Tensor:
    """1 / frequency, scaled to mean 1: the "balanced" alpha of a focal loss. frequencies: counts or shares."""
    return _mean_one(_inverse(_per_class(frequencies)))


def effective_number(counts: Tensor | list[float], beta: float = 0.9999) -> Tensor:
    """(1 - beta) / (1 - beta^n) for n examples, scaled to mean 1. Cui et al., CVPR 2019, eq. 2 and section 4."""
    counts = _per_class(counts)
    seen = -torch.expm1(counts * torch.log(torch.tensor(beta, dtype=torch.float64)))
    return _mean_one(_inverse(seen))


def median_frequency(pixels: Tensor | list[float], pixels_of_images: Tensor | list[float]) -> Tensor:
    """median(f) / f_c, where f_c = pixels of class c / pixels of all images that contain c.

    Eigen and Fergus, ICCV 2015, section 6.3.2, as SegNet uses it. The median is taken over the classes that occur and
    is the mean of the two middle ones where their number is even."""
    pixels, of_images = _per_class(pixels), _per_class(pixels_of_images)
    frequency = pixels * _inverse(of_images)
    occurs = frequency > 0
    median = frequency[occurs].quantile(0.5) if occurs.any() else frequency.sum()
    return median * _inverse(frequency)


def enet_log(frequencies: Tensor | list[float], c: float = 1.02) -> Tensor:
    """1 / ln(c + share of the pixels). Paszke et al., ENet, arXiv 1606.02147, section 5.1."""
    frequencies = _per_class(frequencies)
    return 1 / torch.log(c + frequencies / frequencies.sum().clamp_min(torch.finfo(torch.float64).tiny))
