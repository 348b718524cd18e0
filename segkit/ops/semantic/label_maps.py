"""From logits to label maps: probabilities, the class of each pixel, and maps whose classes have given areas."""

import torch
from torch import Tensor

TINY = 1e-30
"""Smallest probability whose logarithm is taken."""


def to_probabilities(logits: Tensor) -> Tensor:
    """Returns the softmax of logits [B,K,H,W] over the classes, or the sigmoid where there is one channel."""
    return logits.sigmoid() if logits.shape[1] == 1 else logits.softmax(1)


def to_labels(probabilities: Tensor, threshold: float = 0.5) -> Tensor:
    """Returns the class of each pixel.

    Args:
        probabilities: float [B,K,H,W]; scores of any kind for K > 1.
        threshold: with one channel, probabilities above it are 1.

    Returns:
        uint8 [B,H,W], int16 from 257 classes on.
    """
    if probabilities.shape[1] == 1:
        return (probabilities[:, 0] > threshold).to(torch.uint8)
    return probabilities.argmax(1).to(torch.uint8 if probabilities.shape[1] <= 256 else torch.int16)


def class_areas(logits: Tensor, threshold: float = 0.5) -> Tensor:
    """Counts the pixels that are predicted as each class.

    Args:
        logits: float [B,K,H,W].
        threshold: probability above which a model of one class predicts 1.

    Returns:
        int64 [B,K]; with one channel [B,1], the pixels of class 1.
    """
    scores = logits.sigmoid() if logits.shape[1] == 1 else logits
    labels = to_labels(scores, threshold)
    classes = [1] if logits.shape[1] == 1 else range(logits.shape[1])
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
        areas: int64 [B,K], of class_areas.
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
