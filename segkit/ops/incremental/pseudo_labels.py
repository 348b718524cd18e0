"""Labels from the model of the step before, where its entropy is low. Douillard et al., PLOP: Learning without
Forgetting for Continual Semantic Segmentation, CVPR 2021, https://arxiv.org/abs/2011.11390, section 3.3.

B batch, K classes of the step before, C with those of this step, H W image.
"""

import math

import torch
from torch import Tensor

EPSILON = 1e-8


def entropy(probabilities: Tensor) -> Tensor:
    """-(1/K) sum_c p_c log(p_c + 1e-8) / log(K + 1e-8): the authors' code has the mean over classes, eq. 8 the sum.

    probabilities: float [B,K,H,W] -> float [B,H,W].
    """
    factor = -1 / math.log(probabilities.shape[1] + EPSILON)
    return (probabilities + EPSILON).log_().mul_(probabilities).mean(1).mul_(factor)


def scaled_entropy(teacher_logits: Tensor, num_classes: int) -> tuple[Tensor, Tensor]:
    """teacher_logits: float [B,K,H,W]; num_classes: C -> entropy / log(C) float [B,H,W], the teacher's class int64
    [B,H,W]. The authors divide by log(C) beside entropy's own log(K)."""
    probabilities = teacher_logits.softmax(1)
    return entropy(probabilities) / math.log(num_classes), probabilities.argmax(1)


def entropy_histogram(teacher_logits: Tensor, target: Tensor, num_classes: int, *, num_bins: int = 100) -> Tensor:
    """How often each scaled entropy occurs on pixels labelled background (0), by the class the teacher gives them.

    teacher_logits: float [B,K,H,W]; target: int64 [B,H,W]; num_classes: C -> int64 [K,num_bins] over 0..1, what is
    above counts in the last bin.
    """
    values, classes = scaled_entropy(teacher_logits, num_classes)
    num_old = teacher_logits.shape[1]
    index = classes * num_bins + (values * num_bins).long().clamp(0, num_bins - 1)
    index = torch.where(target == 0, index, num_old * num_bins).flatten()  # a spare bin takes the other pixels
    counts = torch.zeros(num_old * num_bins + 1, dtype=torch.int64, device=index.device)
    return counts.scatter_add_(0, index, torch.ones_like(index))[:-1].view(num_old, num_bins)


def median_thresholds(histogram: Tensor, *, floor: float = 0.001, published: bool = False) -> Tensor:
    """histogram: int64 [K,n] of values in 0..1 -> the median of each class, at least `floor`, float32 [K]; `floor` for
    a class without values.

    published: the authors' search, in which the numbers of the bins passed are summed and not their counts, so that a
    median past the first bins is found late or never: then infinite or NaN, which accept all pixels or none.
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
    """Replaces labels below K by the teacher's class where its scaled entropy is below that class's threshold, and by
    `ignore` elsewhere.

    teacher_logits: float [B,K,H,W]; target: int64 [B,H,W]; thresholds: float [K]; num_classes: C
    -> int64 [B,H,W], and the share of accepted ones among the labels below K, float [B], 0 where there are none.
    """
    values, classes = scaled_entropy(teacher_logits, num_classes)
    is_old = (target < teacher_logits.shape[1]) & (target != ignore)
    is_accepted = is_old & (values < thresholds[classes])
    labels = torch.where(is_old, ignore, target.long())
    share = is_accepted.sum((1, 2)) / is_old.sum((1, 2)).clamp_min(1)
    return torch.where(is_accepted, classes, labels), share
