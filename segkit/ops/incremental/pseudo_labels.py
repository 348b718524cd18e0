"""Pseudo labels from the model of the step before, kept where its entropy is low.

Douillard et al., PLOP: Learning without Forgetting for Continual Semantic Segmentation, CVPR 2021,
https://arxiv.org/abs/2011.11390, section 3.3. B batch, K classes with those of this step, K_old classes of the step
before, H W image.
"""

import math

import torch
from torch import Tensor

EPSILON = 1e-8


def entropy(probabilities: Tensor) -> Tensor:
    """Computes -(1/K) sum_c p_c log(p_c + 1e-8) / log(K + 1e-8) of each pixel.

    The mean over classes is that of the authors' code; eq. 8 of the paper has the sum.

    Args:
        probabilities: float [B,K,H,W].

    Returns:
        float [B,H,W].
    """
    factor = -1 / math.log(probabilities.shape[1] + EPSILON)
    return (probabilities + EPSILON).log_().mul_(probabilities).mean(1).mul_(factor)


def scaled_entropy(teacher_logits: Tensor, num_classes: int) -> tuple[Tensor, Tensor]:
    """Computes the teacher's entropy divided by log(K), and its class.

    The authors divide by log(K) in addition to the log(K_old) in `entropy`.

    Args:
        teacher_logits: float [B,K_old,H,W].
        num_classes: K.

    Returns:
        The scaled entropy float [B,H,W] and the teacher's class int64 [B,H,W].
    """
    probabilities = teacher_logits.softmax(1)
    return entropy(probabilities) / math.log(num_classes), probabilities.argmax(1)


def entropy_histogram(teacher_logits: Tensor, target: Tensor, num_classes: int, *, num_bins: int = 100) -> Tensor:
    """Counts the scaled entropies on pixels labelled background (0), separately for each class of the teacher.

    Args:
        teacher_logits: float [B,K_old,H,W].
        target: int64 [B,H,W].
        num_classes: K.
        num_bins: number of equal bins over 0..1; values above 1 count in the last one.

    Returns:
        int64 [K_old,num_bins], by the class that the teacher gives to the pixel.
    """
    values, classes = scaled_entropy(teacher_logits, num_classes)
    num_old = teacher_logits.shape[1]
    index = classes * num_bins + (values * num_bins).long().clamp(0, num_bins - 1)
    index = torch.where(target == 0, index, num_old * num_bins).flatten()  # other pixels go to an extra bin
    counts = torch.zeros(num_old * num_bins + 1, dtype=torch.int64, device=index.device)
    return counts.scatter_add_(0, index, torch.ones_like(index))[:-1].view(num_old, num_bins)


def median_thresholds(histogram: Tensor, *, floor: float = 0.001, published: bool = False) -> Tensor:
    """Finds the median of each class's histogram: the entropy below which the teacher is believed.

    Args:
        histogram: int64 [K_old,n] of values in 0..1.
        floor: smallest threshold, also that of a class without values.
        published: whether to search as the authors' code does: it adds up the numbers of the bins passed and not their
            counts, so that a median past the first bins is found late or never. Such a threshold is infinite or NaN and
            accepts all pixels or none.

    Returns:
        float32 [K_old].
    """
    histogram = histogram.cpu()
    num_bins = histogram.shape[1]
    half = histogram.sum(1, keepdim=True) / 2
    borders = [number / num_bins for number in range(num_bins)]
    if published:
        bins = torch.tensor([int(border * num_bins) for border in borders])  # 28 for bin 29: rounded down there too
        passed = torch.tensor([border * num_bins for border in borders], dtype=torch.float64)
        before = (passed.cumsum(0) - passed).float().expand(histogram.shape)
        counts = histogram[:, bins]
        is_median = (half >= before) & (half <= before + counts)
    else:
        counts = histogram
        before = (counts.cumsum(1) - counts).float()
        is_median = half <= before + counts
    is_median[:, -1] = True
    found = is_median.int().argmax(1, keepdim=True)
    inside = (half - before.gather(1, found)) / counts.gather(1, found)
    median = torch.tensor(borders)[found] + inside / num_bins
    return torch.where(half > 0, median, 0.0).clamp_min(floor).squeeze(1)


def pseudo_labels(
    teacher_logits: Tensor, target: Tensor, thresholds: Tensor, *, num_classes: int, ignore: int
) -> tuple[Tensor, Tensor]:
    """Replaces the labels of old classes and background by the teacher's class, or by `ignore` where it is unsure.

    A label below K_old becomes the teacher's class where the teacher's scaled entropy is below the threshold of that
    class, and `ignore` elsewhere.

    Args:
        teacher_logits: float [B,K_old,H,W].
        target: int64 [B,H,W].
        thresholds: float [K_old], of the scaled entropy.
        num_classes: K.
        ignore: label of pixels that take no part.

    Returns:
        The labels int64 [B,H,W], and the share of accepted pixels among the labels below K_old, float [B], 0 where
        there are none.
    """
    values, classes = scaled_entropy(teacher_logits, num_classes)
    is_old = (target < teacher_logits.shape[1]) & (target != ignore)
    is_accepted = is_old & (values < thresholds[classes])
    labels = torch.where(is_old, ignore, target.long())
    share = is_accepted.sum((1, 2)) / is_old.sum((1, 2)).clamp_min(1)
    return torch.where(is_accepted, classes, labels), share
