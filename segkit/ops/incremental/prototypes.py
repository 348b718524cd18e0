"""What is kept of classes learned before: directions and lengths of their features, from which features are drawn.

STAR, Chen et al., Saving 100x Storage: Prototype Replay for Reconstructing Training Sample Distribution in
Class-Incremental Semantic Segmentation, NeurIPS 2023. B batch, K classes without the background, C channels, h w
features, H W labels.
"""

from dataclasses import dataclass, fields, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from segkit import dist

EPSILON = 1e-12
"""Least length that a vector is divided by."""

PRESENT = 0.5
"""Logit above which a class counts as found in training, a probability of 0.62; in predictions it is a probability."""


@dataclass
class ClassStatistics:
    """Statistics of the features of K classes; a class without a pixel has zeros.

    Args:
        counts: float64 [1 + K], positions of the feature maps labelled as background, and as each class.
        prototypes: float32 [K,C], unit vectors: the normalised sum of the directions z / |z| of a class.
        norm_mean: float32 [K], mean of the lengths |z|.
        norm_std: float32 [K], their standard deviation.
        noise: float32 [K,C], root mean square of z / |z| - prototype, by channel.
        means: float32 [1 + K,C], mean of the features z themselves, the background's first.
    """

    counts: Tensor
    prototypes: Tensor
    norm_mean: Tensor
    norm_std: Tensor
    noise: Tensor
    means: Tensor

    def as_dict(self) -> dict[str, Tensor]:
        """Returns the tensors by name, for a checkpoint."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def with_prototypes(self, prototypes: Tensor, distances: Tensor) -> "ClassStatistics":
        """Returns the same with other prototypes, float [K,C], and other distances from them, float [K]."""
        noise = (distances / prototypes.shape[1] ** 0.5)[:, None].expand_as(prototypes)
        return replace(self, prototypes=prototypes, noise=noise)

    def without_directions(self, *, keeps_means: bool) -> "ClassStatistics":
        """Returns the counts with zeros for all that says where features of a class lie.

        Args:
            keeps_means: whether the means stay.
        """
        kept = ("counts", "means") if keeps_means else ("counts",)
        return ClassStatistics(**{n: x if n in kept else torch.zeros_like(x) for n, x in self.as_dict().items()})

    def distances(self) -> Tensor:
        """Returns the root mean square distance of z / |z| from the prototype, float32 [K]."""
        return torch.linalg.vector_norm(self.noise, dim=1)

    def to(self, device: torch.device) -> "ClassStatistics":
        """Returns the same on a device."""
        return ClassStatistics(**{name: value.to(device) for name, value in self.as_dict().items()})

    def followed_by(self, new: "ClassStatistics", counts: Tensor) -> "ClassStatistics":
        """Returns the statistics of these classes and then those of new ones.

        Args:
            new: of the new classes; its mean of the background replaces the one here.
            counts: float64 [1 + K + N], the counts of the result.
        """
        joined = {
            name: torch.cat([getattr(self, name), getattr(new, name)])
            for name in ("prototypes", "norm_mean", "norm_std", "noise")
        }
        means = torch.cat([new.means[:1], self.means[1:], new.means[1:]])
        return ClassStatistics(counts=counts, means=means, **joined)


def labels_at(labels: Tensor, size: tuple[int, int]) -> Tensor:
    """Returns the labels at the centers of the cells of a coarser map.

    Where a cell has s x s pixels, these are the pixels s // 2, s // 2 + s, ... of each row and column.

    Args:
        labels: int64 [B,H,W].
        size: (h, w).

    Returns:
        int64 [B,h,w].
    """
    rows, columns = (_centers(cells, pixels, labels) for cells, pixels in zip(size, labels.shape[-2:]))
    return labels[:, rows[:, None], columns]


def _centers(cells: int, pixels: int, like: Tensor) -> Tensor:
    return (2 * torch.arange(cells, device=like.device) + 1) * pixels // (2 * cells)


def old_labels(teacher_logits: Tensor, threshold: float) -> Tensor:
    """Returns the classes that a model without a background output finds: argmax + 1, and 0 where no logit is high.

    Args:
        teacher_logits: float [B,K,h,w].
        threshold: logit above which a class is present.

    Returns:
        int64 [B,h,w].
    """
    highest, index = teacher_logits.max(1)
    return torch.where(highest > threshold, index + 1, 0)


def old_labels_at(
    teacher_logits: Tensor, image_size: tuple[int, int], size: tuple[int, int], threshold: float
) -> Tensor:
    """Returns what old_labels finds at an image's size, at the centers of the cells of a coarser map.

    Args:
        teacher_logits: float [B,K,h',w'].
        image_size: (H, W).
        size: (h, w).
        threshold: logit above which a class is present.

    Returns:
        int64 [B,h,w].
    """
    if image_size != tuple(teacher_logits.shape[-2:]):
        teacher_logits = F.interpolate(teacher_logits, image_size, mode="bilinear", align_corners=False)
    return labels_at(old_labels(teacher_logits, threshold), size)


def mean_length(features: Tensor) -> Tensor:
    """Returns the mean of |z| over all positions, without gradient.

    Args:
        features: float [B,C,h,w].

    Returns:
        float32 [].
    """
    return torch.linalg.vector_norm(features.detach().float(), dim=1).mean()


def class_sums(features: Tensor, labels: Tensor, num_labels: int) -> Tensor:
    """Sums features over the positions of each label.

    Args:
        features: float [B,C,h,w].
        labels: int64 [B,h,w]; those outside 0..num_labels - 1 count nowhere.
        num_labels: L.

    Returns:
        float [L,C].
    """
    chosen = labels[..., None] == torch.arange(num_labels, device=labels.device)
    return torch.einsum("bhwl,bchw->lc", chosen.to(features.dtype), features)


class FeatureSums:
    """Sums of features by class over many batches, in float64, of which `result` makes their statistics.

    Args:
        classes: labels of the N classes; label 0 is the background.
        channels: C.
    """

    def __init__(self, classes: list[int], channels: int):
        self.classes, self.channels = classes, channels
        self._sums = torch.zeros(1 + len(classes), 3 + 3 * channels, dtype=torch.float64)

    def add(self, features: Tensor, labels: Tensor) -> None:
        """Adds a batch.

        Args:
            features: float [B,C,h,w].
            labels: int64 [B,h,w].
        """
        ranks = torch.full((256,), 255, device=labels.device)
        ranks[[0, *self.classes]] = torch.arange(1 + len(self.classes), device=labels.device)
        ranked, z = ranks[labels.long().clamp(0, 255)], features.double()
        length = torch.linalg.vector_norm(z, dim=1, keepdim=True)
        direction = z / length.clamp_min(EPSILON)
        scalars = [torch.ones_like(length), length, length.square()]
        sums = class_sums(torch.cat([*scalars, direction, direction.square(), z], 1), ranked, 1 + len(self.classes))
        self._sums = self._sums.to(sums.device) + sums

    def result(self, centers: Tensor | None = None) -> ClassStatistics:
        """Returns the statistics over what all processes added.

        Args:
            centers: float [N,C], what the noise is measured from in place of the prototypes. STAR's code counts the new
                classes of a later step from 0 there, and so takes the prototypes of the first classes of all: only for
                comparison with it.
        """
        sums = dist.all_reduce_sum(self._sums)
        widths = [1, 1, 1, self.channels, self.channels, self.channels]
        count, length, squared, direction, direction_squared, z = sums.split(widths, 1)
        mean_of = [value / count.clamp_min(1) for value in (length, direction, direction_squared, z)]
        norm_mean, mean, mean_squared, means = mean_of
        variance = (squared - count * norm_mean.square()).clamp_min(0) / (count - 1).clamp_min(1)
        prototypes = F.normalize(direction, dim=1, eps=EPSILON)
        origin = prototypes if centers is None else torch.cat([prototypes[:1], centers.to(prototypes)])
        noise = (mean_squared - 2 * origin * mean + origin.square()).clamp_min(0).sqrt()
        has_any = count > 0
        return ClassStatistics(
            counts=count[:, 0],
            prototypes=prototypes[1:].float(),
            norm_mean=norm_mean[1:, 0].float(),
            norm_std=variance.sqrt()[1:, 0].float(),
            noise=(noise * has_any)[1:].float(),
            means=means.float(),
        )


def draw_features(statistics: ClassStatistics, numbers: list[int], rng: np.random.Generator) -> Tensor:
    """Draws features of old classes: (prototype + noise e) (norm_mean + norm_std e'), e and e' normal for each entry.

    Args:
        statistics: of K classes.
        numbers: K numbers of features.
        rng: draws the normal numbers.

    Returns:
        float32 [sum(numbers),C], the classes in their order.
    """
    device = statistics.prototypes.device
    index = torch.repeat_interleave(torch.tensor(numbers, dtype=torch.int64)).to(device)
    shape = (len(index), statistics.prototypes.shape[1])
    turned, scaled = (torch.from_numpy(rng.standard_normal(shape, np.float32)).to(device) for _ in range(2))
    direction = statistics.prototypes[index] + statistics.noise[index] * turned
    return direction * (statistics.norm_mean[index, None] + statistics.norm_std[index, None] * scaled)


@dataclass(frozen=True)
class ReplayShares:
    """How much of the old classes and of the old background goes into each batch of a step.

    Args:
        numbers: features of each of K old classes that a batch is given.
        background: weight of a position that shows the background of the steps before.
        kept: float64 [1 + K], counts of the background and the old classes for the step after.
    """

    numbers: list[int]
    background: float
    kept: Tensor


OVERLAP = 0.01
"""Share of the old background that each new class is taken to fill, where steps share images."""

SHOWN_BACKGROUND = 0.5
"""What the new images' own background is counted for, where steps share images."""


def replay_shares(old: Tensor, seen: Tensor, batches: float, num_new: int, *, is_overlapped: bool) -> ReplayShares:
    """Finds how often old classes have to be replayed to keep their share of the pixels.

    Args:
        old: [1 + K], positions of the background and the old classes in the images of the steps before.
        seen: [1 + K], positions without a label in the images of this step, by the class that the teacher finds.
        batches: batches of one pass over the images.
        num_new: number of new classes, N.
        is_overlapped: whether images of this step may have been among those of the steps before, so that what they
            show of old classes counts as seen.
    """
    old, seen = old.double().cpu(), seen.double().cpu()
    if is_overlapped:
        numbers = ((old[1:] - seen[1:]) / batches).int().clamp_min(0)
        background = old[0] * (1 - OVERLAP * num_new)
        ratio = background / seen[0].clamp_min(1) - SHOWN_BACKGROUND
        kept = torch.cat([(background + SHOWN_BACKGROUND * seen[0])[None], old[1:]])
    else:
        numbers = (old[1:] / batches).int()
        ratio = old[0] / seen[0].clamp_min(1)
        kept = old + seen
    return ReplayShares(numbers.tolist(), max(0.0, float(ratio)), kept)
