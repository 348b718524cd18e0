"""How often classes occur: class weights computed from it, and predictions that are made to keep it.

Laws of weights take numbers [K] and return float64 [K]. A class that never occurs gets weight 0; enet_log gives it
1 / ln(c). B batch, K classes, H W image.
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


TINY = 1e-30
"""Smallest probability whose logarithm is taken."""


def class_areas(labels: Tensor, classes: Sequence[int]) -> Tensor:
    """Counts the pixels of each class in label maps.

    Args:
        labels: integers [B,H,W].
        classes: numbers of the K classes that are counted.

    Returns:
        int64 [B,K].
    """
    return torch.stack([(labels == number).flatten(1).sum(1) for number in classes], 1)


def match_areas(probabilities: Tensor, areas: Tensor, threshold: float = 0.5) -> Tensor:
    """Changes probabilities so that each class is predicted at as many pixels as given.

    One channel: by another threshold. Of the probabilities in falling order the new threshold t lies halfway between
    the last of the area and the next one; values below t are scaled to 0..threshold, those above to threshold..1.
    Pixels of equal probability stay together, so that the area is at most the given one.

    Several classes: by quotas. From the smallest area to the largest, each class takes the pixels at which its
    probability exceeds that of the best class still to come by the largest factor, the first of equal ones; the last
    class keeps the rest. A class of area 0 takes none. Where the quotas take a pixel from its most probable class, the
    two classes exchange their probabilities there. Where the areas are right already, nothing changes.

    Args:
        probabilities: float [B,K,H,W].
        areas: int64 [B,K], pixels of each class; with one channel [B,1], those of class 1.
        threshold: with one channel.

    Returns:
        float [B,K,H,W].
    """
    if probabilities.shape[1] == 1:
        return torch.stack([_shifted(p, int(area), threshold) for p, area in zip(probabilities, areas)])
    return torch.stack([_shared_out(p, area) for p, area in zip(probabilities, areas)])


def _shifted(probabilities: Tensor, area: int, threshold: float) -> Tensor:
    """One channel: the other threshold of match_areas, for one image [1,H,W]."""
    if int((probabilities > threshold).sum()) == area:
        return probabilities
    # beyond both ends, so that an area of none or of all pixels has a neighbor to compare with
    values = probabilities.flatten().sort(descending=True).values
    values = torch.cat([values.new_ones(1), values, values.new_zeros(1)])
    last, following = values[area], values[area + 1]
    is_chosen = probabilities >= last if area and last > following else probabilities > last
    cut = (last + following) / 2 if area and last > following else last
    at = probabilities.new_tensor(threshold)
    below = (probabilities / cut.clamp_min(1e-12) * at).minimum(at.nextafter(at.new_tensor(-1.0)))
    above = (at + (probabilities - cut) / (1 - cut).clamp_min(1e-12) * (1 - at)).maximum(
        at.nextafter(at.new_tensor(2.0))
    )
    return torch.where(is_chosen, above, below).clamp(0, 1)


def _shared_out(probabilities: Tensor, areas: Tensor) -> Tensor:
    """Several classes: the quotas of match_areas, for one image [K,H,W]."""
    flat = probabilities.flatten(1)
    order = [k for k in areas.argsort(stable=True).tolist() if areas[k] > 0]
    winner = flat.argmax(0)
    chosen = torch.full_like(winner, order[-1])
    free = torch.arange(flat.shape[1], device=flat.device)
    for number, k in enumerate(order[:-1]):
        best_other = flat[order[number + 1 :]][:, free].amax(0)
        lead = flat[k, free].clamp_min(TINY).log() - best_other.clamp_min(TINY).log()
        ranks = lead.argsort(descending=True, stable=True)
        chosen[free[ranks[: int(areas[k])]]] = k
        free = free[ranks[int(areas[k]) :].sort().values]
    exchanged = flat.scatter(0, winner[None], flat.gather(0, chosen[None]))
    exchanged.scatter_(0, chosen[None], flat.gather(0, winner[None]))
    # of equal probabilities the first class would be predicted
    is_tied = exchanged.argmax(0) != chosen
    largest = exchanged.gather(0, chosen[None])
    raised = torch.where(is_tied[None], largest.nextafter(largest.new_tensor(2.0)), largest)
    return exchanged.scatter(0, chosen[None], raised).view_as(probabilities)
