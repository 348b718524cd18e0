"""Samplers that show rare classes more often, from the counts of segkit.data.statistics. K classes, n images.

Like every sampler, functions of (seed, position). STREAM keeps their random numbers apart from those of the transforms,
which are drawn from (seed, position) as well: one number must not choose both the image and its augmentation.
"""

from bisect import bisect_right

import numpy as np

from segkit.data.dataset import Dataset
from segkit.data.files.mask_scan import ignore_of, scan
from segkit.data.samplers import Sampler, Shuffle
from segkit.data.statistics import ClassStatistics, class_statistics, count_labels
from segkit.files import DataError
from segkit.registry import SAMPLERS, ConfigError

STREAM = 0x0BA1A7CE

REDUCTIONS = {"mean": np.mean, "max": np.max}


def image_weights(present: list[np.ndarray], frequency: np.ndarray, weight: str = "mean") -> np.ndarray:
    """present: classes of each image, int64; frequency: float [K]; weight: "mean" or "max"
    -> float64 [n], the mean or the largest of 1 / f_c over the classes of an image; 0 for an image that holds none."""
    if weight not in REDUCTIONS:
        raise ConfigError(f"ClassBalanced.weight = {weight!r}: it is one of {', '.join(REDUCTIONS)}")
    reduce = REDUCTIONS[weight]
    return np.array([reduce(1 / frequency[classes]) if len(classes) else 0.0 for classes in present])


def repeat_factors(present: list[np.ndarray], frequency: np.ndarray, threshold: float) -> np.ndarray:
    """present: classes of each image, int64; frequency: float [K], share of the images that hold a class
    -> float64 [n], max over an image's classes of r_c = max(1, sqrt(t / f_c)); 1 for an image that holds none.

    Gupta et al., LVIS, CVPR 2019, https://arxiv.org/abs/1908.03195: repeat factor sampling."""
    of_class = np.maximum(1.0, np.sqrt(threshold / np.maximum(frequency, np.finfo(float).tiny)))
    return np.array([of_class[classes].max() if len(classes) else 1.0 for classes in present])


def _labelled(statistics: ClassStatistics, dataset: Dataset) -> ClassStatistics:
    if not statistics.pixels.any():
        raise DataError(f"{type(dataset).__name__}: no mask holds a pixel of any class; check root and labels")
    return statistics


@SAMPLERS.register
class ClassBalanced(Sampler):
    """Images with replacement, each with a probability in proportion to its weight: the mean or max of 1 / f_c over its
    classes.

    weight: "mean" or "max"; frequency: f_c is the class's share of the "pixels" or the share of the "images" that hold
    it. An image without a labelled pixel is never drawn.
    """

    def __init__(self, dataset: Dataset, seed: int = 0, weight: str = "mean", frequency: str = "pixels"):
        super().__init__(dataset, seed)
        statistics = _labelled(class_statistics(dataset), dataset)
        shares = {"pixels": statistics.pixel_frequency, "images": statistics.image_frequency}
        if frequency not in shares:
            raise ConfigError(f"ClassBalanced.frequency = {frequency!r}: it is one of {', '.join(shares)}")
        weights = image_weights(statistics.present, shares[frequency](), weight)
        self.probabilities = weights / weights.sum()
        self._bounds = np.cumsum(weights)
        self._last = int(np.flatnonzero(weights)[-1])

    def index(self, position: int) -> int:
        point = np.random.default_rng([self.seed, position, STREAM]).random() * self._bounds[-1]
        # "right" passes over images of weight 0; rounding may lift the point to the last bound
        return min(int(np.searchsorted(self._bounds, point, side="right")), self._last)


@SAMPLERS.register
class RepeatFactor(Sampler):
    """Epochs in which image i stands r_i times, r_i >= 1 the largest of sqrt(threshold / f_c) over its classes and f_c
    the share of images that hold class c. Gupta et al., LVIS, CVPR 2019, https://arxiv.org/abs/1908.03195.

    The broken part of r_i is rounded up at random, for each epoch anew, so epochs differ in length; each is shuffled.
    threshold: classes in a larger share of the images are not repeated; .001 in the paper, whose classes are many.
    """

    def __init__(self, dataset: Dataset, seed: int = 0, threshold: float = 0.001):
        super().__init__(dataset, seed)
        if not 0 < threshold <= 1:
            raise ConfigError(f"RepeatFactor.threshold = {threshold}: it is a share of the images, in (0, 1]")
        statistics = _labelled(class_statistics(dataset), dataset)
        self.factors = repeat_factors(statistics.present, statistics.image_frequency(), threshold)
        self._ends: list[int] = []
        self._epoch, self._order = -1, np.arange(0)

    def index(self, position: int) -> int:
        while not self._ends or self._ends[-1] <= position:
            length = int(self._repeats(len(self._ends))[0].sum())
            self._ends.append((self._ends[-1] if self._ends else 0) + length)
        epoch = bisect_right(self._ends, position)
        if epoch != self._epoch:
            repeats, rng = self._repeats(epoch)
            self._epoch, self._order = epoch, rng.permutation(np.repeat(np.arange(self.num_images), repeats))
        return int(self._order[position - (self._ends[epoch - 1] if epoch else 0)])

    def _repeats(self, epoch: int) -> tuple[np.ndarray, np.random.Generator]:
        """-> int64 [n], how often each image stands in the epoch, and the generator that shuffles it."""
        rng = np.random.default_rng([self.seed, epoch, STREAM])
        whole = np.floor(self.factors)
        return (whole + (rng.random(self.num_images) < self.factors - whole)).astype(np.int64), rng


class Centroids:
    """mask integer [H,W] -> [[class, y, x], ...]: per tile and class the mean place of the class's pixels in it."""

    def __init__(self, num_classes: int, ignore: int, tile: int):
        self.num_classes, self.ignore, self.tile = num_classes, ignore, tile

    def __call__(self, mask: np.ndarray) -> list[list[int]]:
        found = []
        for y in range(0, mask.shape[0], self.tile):
            for x in range(0, mask.shape[1], self.tile):
                found += self._of_tile(mask[y : y + self.tile, x : x + self.tile], y, x)
        return found

    def _of_tile(self, part: np.ndarray, y: int, x: int) -> list[list[int]]:
        count = count_labels(part, self.num_classes, self.ignore)
        present = np.flatnonzero(count)
        places = np.indices(part.shape, np.float64).reshape(2, -1)
        labels = np.where(part == self.ignore, self.num_classes, part).ravel()
        sums = [np.bincount(labels, axis, minlength=self.num_classes)[present] for axis in places]
        rows, columns = (total / count[present] for total in sums)
        return [[int(c), y + int(i), x + int(j)] for c, i, j in zip(present, rows, columns)]


@SAMPLERS.register
class ClassUniform(Sampler):
    """A share of the positions draws a class uniformly, then one of its centroids; the others shuffle all images.

    Zhu et al., CVPR 2019, https://arxiv.org/abs/1812.01593, and the hierarchical attention of Tao et al.,
    https://arxiv.org/abs/2005.10821, which uses fraction .5. A centroid is the mean place of a class's pixels in a tile
    of an image. The transform FocusCrop cuts around it; without it the image is chosen, the place is not.
    fraction: share of positions, spread evenly, so that every batch holds about as many. tile: side in pixels; with at
    most the crop's side (at scale 1), a crop around the centroid's middle holds the class. Classes that never occur are
    left out.
    """

    def __init__(self, dataset: Dataset, seed: int = 0, fraction: float = 0.5, tile: int = 512):
        super().__init__(dataset, seed)
        if not 0 <= fraction <= 1:
            raise ConfigError(f"ClassUniform.fraction = {fraction}: it is a share of the positions, in [0, 1]")
        if tile < 1:
            raise ConfigError(f"ClassUniform.tile = {tile}: the side of a tile is 1 pixel or more")
        self.fraction, self._shuffle = fraction, Shuffle(dataset, seed)
        num_classes = len(dataset.classes)
        rows = scan(dataset, Centroids(num_classes, ignore_of(dataset), tile), f"centroids {tile}")
        places = [(c, i, y, x) for i, row in enumerate(rows) for c, y, x in row or ()]
        table = np.array(places, np.int64).reshape(-1, 4)
        of_class = [table[table[:, 0] == c, 1:] for c in range(num_classes)]
        self._centroids = [found for found in of_class if len(found)]
        if not self._centroids:
            raise DataError(f"{type(dataset).__name__}: no mask holds a pixel of any class; check root and labels")

    def index(self, position: int) -> int:
        drawn = self._draw(position)
        if drawn is not None:
            return int(drawn[0])
        return self._shuffle.index(position - int(position * self.fraction))

    def focus(self, position: int) -> tuple[int, int] | None:
        """-> (y, x) of the centroid in the image as stored, None where the position belongs to the shuffled images."""
        drawn = self._draw(position)
        return None if drawn is None else (int(drawn[1]), int(drawn[2]))

    def _draw(self, position: int) -> np.ndarray | None:
        """-> image, y, x of a position of the class-uniform share."""
        if int((position + 1) * self.fraction) == int(position * self.fraction):
            return None
        rng = np.random.default_rng([self.seed, position, STREAM])
        centroids = self._centroids[rng.integers(len(self._centroids))]
        return centroids[rng.integers(len(centroids))]
