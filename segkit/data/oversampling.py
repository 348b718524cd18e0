"""Samplers that show rare classes more often, from the counts of segkit.data.statistics. K classes, n images.

Like every sampler, they are functions of (seed, position). STREAM keeps their random numbers apart from those of the
transforms, which are drawn from (seed, position) as well: one number must not choose both the image and its
augmentation.
"""

from bisect import bisect_right
from collections.abc import Callable

import numpy as np

from segkit.constraints.named import Fraction, NonNegativeInt, PositiveInt
from segkit.data.dataset import Dataset
from segkit.data.files.mask_scan import scan
from segkit.data.samplers import Sampler, Shuffle
from segkit.data.statistics import ClassStatistics, class_statistics, count_labels
from segkit.files import DataError
from segkit.registry import SAMPLERS, ConfigError

STREAM = 0x0BA1A7CE
"""Third number of these samplers' seeds."""

REDUCTIONS: dict[str, Callable[[np.ndarray], float]] = {"mean": np.mean, "max": np.max}
"""How the rarities of an image's classes become its weight."""


def image_weights(present: list[np.ndarray], frequency: np.ndarray, weight: str = "mean") -> np.ndarray:
    """Weighs images by how rare their classes are.

    Args:
        present: the classes of each image, int64.
        frequency: float [K], f_c of each class.
        weight: "mean" or "max" of 1 / f_c over the classes of an image.

    Returns:
        float64 [n]; 0 for an image without a class.

    Raises:
        ConfigError: for another `weight`.
    """
    if weight not in REDUCTIONS:
        raise ConfigError(f"ClassBalanced.weight = {weight!r}: must be one of {', '.join(REDUCTIONS)}")
    reduce = REDUCTIONS[weight]
    return np.array([reduce(1 / frequency[classes]) if len(classes) else 0.0 for classes in present])


def repeat_factors(present: list[np.ndarray], frequency: np.ndarray, threshold: float) -> np.ndarray:
    """Repeat factor sampling: how often each image appears in an epoch.

    Args:
        present: the classes of each image, int64.
        frequency: float [K], f_c, the share of the images that hold a class.
        threshold: t, the share below which a class is repeated.

    Returns:
        float64 [n], the largest r_c = max(1, sqrt(t / f_c)) over an image's classes; 1 for an image without a class.

    Gupta et al., LVIS, CVPR 2019, https://arxiv.org/abs/1908.03195.
    """
    factors = np.maximum(1.0, np.sqrt(threshold / np.maximum(frequency, np.finfo(float).tiny)))
    return np.array([factors[classes].max() if len(classes) else 1.0 for classes in present])


def _labelled(statistics: ClassStatistics, dataset: Dataset) -> ClassStatistics:
    if not statistics.pixels.any():
        raise DataError(f"{type(dataset).__name__}: no mask holds a pixel of any class; check root and labels")
    return statistics


@SAMPLERS.register
class ClassBalanced(Sampler):
    """Draws images with replacement, those with rare classes more often.

    The probability of an image is proportional to its weight, the mean or maximum of 1 / f_c over its classes. An image
    without a labelled pixel is never drawn.

    Args:
        dataset: the training set; its masks are counted.
        seed: of the draws.
        weight: "mean" or "max".
        frequency: f_c is the class's share of the "pixels", or the share of the "images" that hold it.

    Raises:
        ConfigError: for another `weight` or `frequency`.
        DataError: where no mask holds a class.
    """

    def __init__(self, dataset: Dataset, seed: NonNegativeInt = 0, weight: str = "mean", frequency: str = "pixels"):
        super().__init__(dataset, seed)
        self.weight, self.frequency = weight, frequency
        statistics = _labelled(class_statistics(dataset), dataset)
        shares = {"pixels": statistics.pixel_frequency, "images": statistics.image_frequency}
        if frequency not in shares:
            raise ConfigError(f"ClassBalanced.frequency = {frequency!r}: must be one of {', '.join(shares)}")
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
    """Repeat factor sampling: images with rare classes appear more than once per epoch.

    Image i appears r_i times, r_i the largest of max(1, sqrt(threshold / f_c)) over its classes, where f_c is the share
    of the images that hold class c. The fraction of r_i is rounded up at random, anew for each epoch, so epochs differ
    in length; each is shuffled.

    Args:
        dataset: the training set; its masks are counted.
        seed: of the rounding and the orders.
        threshold: classes in a larger share of the images are not repeated. 0.001 in the paper, whose classes are many.

    Raises:
        ConfigError: where `threshold` is not in (0, 1].
        DataError: where no mask holds a class.

    Gupta et al., LVIS, CVPR 2019, https://arxiv.org/abs/1908.03195.
    """

    def __init__(self, dataset: Dataset, seed: NonNegativeInt = 0, threshold: Fraction = 0.001):
        super().__init__(dataset, seed)
        if not 0 < threshold <= 1:
            raise ConfigError(f"RepeatFactor.threshold = {threshold}: must be a share of the images, in (0, 1]")
        self.threshold = threshold
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
        """How often each image appears in the epoch, int64 [n], and the generator that shuffles the epoch."""
        rng = np.random.default_rng([self.seed, epoch, STREAM])
        whole = np.floor(self.factors)
        return (whole + (rng.random(self.num_images) < self.factors - whole)).astype(np.int64), rng


class Centroids:
    """Finds where each class lies in a mask: its centroid in each square tile.

    Args:
        num_classes: K.
        ignore: label of pixels without a class.
        tile: side of a tile in pixels.
    """

    def __init__(self, num_classes: int, ignore: int, tile: int):
        self.num_classes, self.ignore, self.tile = num_classes, ignore, tile

    def __call__(self, mask: np.ndarray) -> list[list[int]]:
        """Measures one mask.

        Args:
            mask: integer [H,W].

        Returns:
            A row [class, y, x] for each tile and class in it: the mean position of the class's pixels in the tile.
        """
        if mask.ndim == 3:
            raise DataError("centroids need one class per pixel, and these overlap; use the sampler RepeatFactor")
        found = []
        for y in range(0, mask.shape[0], self.tile):
            for x in range(0, mask.shape[1], self.tile):
                found += self._of_tile(mask[y : y + self.tile, x : x + self.tile], y, x)
        return found

    def _of_tile(self, tile: np.ndarray, y: int, x: int) -> list[list[int]]:
        """The rows of a tile whose first pixel is (y, x)."""
        count = count_labels(tile, self.num_classes, self.ignore)
        present = np.flatnonzero(count)
        positions = np.indices(tile.shape, np.float64).reshape(2, -1)
        labels = np.where(tile == self.ignore, self.num_classes, tile).ravel()
        sums = [np.bincount(labels, axis, minlength=self.num_classes)[present] for axis in positions]
        rows, columns = (total / count[present] for total in sums)
        return [[int(c), y + int(i), x + int(j)] for c, i, j in zip(present, rows, columns)]


@SAMPLERS.register
class ClassUniform(Sampler):
    """Class-uniform sampling: a share of the positions draws a class uniformly, then one of its centroids.

    The other positions shuffle all images. A centroid is the mean position of a class's pixels in a tile of an image.
    The transform FocusCrop crops around it; without that transform the sampler chooses the image alone. Classes that
    never occur are left out.

    Args:
        dataset: the training set; its masks are read.
        seed: of the draws.
        fraction: share of the class-uniform positions, spread evenly, so that every batch holds about as many.
        tile: side of a tile in pixels. At most the crop's side (at scale 1), so that a crop centred on the centroid
            holds the class.
        by_image: draws an image uniformly among those that hold the class, then one of its centroids. By default all
            centroids of the class are as likely, so that images with more of them are shown more often.

    Raises:
        ConfigError: where `fraction` is not in [0, 1], or `tile` is below 1.
        DataError: where no mask holds a class.

    Zhu et al., CVPR 2019, https://arxiv.org/abs/1812.01593; hierarchical attention, Tao et al.,
    https://arxiv.org/abs/2005.10821, uses fraction 0.5.
    """

    def __init__(
        self,
        dataset: Dataset,
        seed: NonNegativeInt = 0,
        fraction: Fraction = 0.5,
        tile: PositiveInt = 512,
        *,
        by_image: bool = False,
    ):
        super().__init__(dataset, seed)
        if not 0 <= fraction <= 1:
            raise ConfigError(f"ClassUniform.fraction = {fraction}: must be a share of the positions, in [0, 1]")
        if tile < 1:
            raise ConfigError(f"ClassUniform.tile = {tile}: must be at least 1, the side of a tile in pixels")
        self.fraction, self.tile, self.by_image = fraction, tile, by_image
        self._shuffle = Shuffle(dataset, seed)
        num_classes = len(dataset.classes)
        measured = scan(dataset, Centroids(num_classes, dataset.ignore, tile), f"centroids {tile}")
        rows = [(c, i, y, x) for i, centroids in enumerate(measured) for c, y, x in centroids or ()]
        table = np.array(rows, np.int64).reshape(-1, 4)
        of_class = [table[table[:, 0] == c, 1:] for c in range(num_classes)]
        self._centroids = [centroids for centroids in of_class if len(centroids)]
        if not self._centroids:
            raise DataError(f"{type(dataset).__name__}: no mask holds a pixel of any class; check root and labels")

    def index(self, position: int) -> int:
        drawn = self._draw(position)
        if drawn is not None:
            return int(drawn[0])
        return self._shuffle.index(position - int(position * self.fraction))

    def focus(self, position: int) -> tuple[int, int] | None:
        """Returns (y, x) of the centroid in the stored image, or None where the position shows a shuffled image."""
        drawn = self._draw(position)
        return None if drawn is None else (int(drawn[1]), int(drawn[2]))

    def _draw(self, position: int) -> np.ndarray | None:
        """Image, y and x of a class-uniform position, None for the others."""
        if int((position + 1) * self.fraction) == int(position * self.fraction):
            return None
        rng = np.random.default_rng([self.seed, position, STREAM])
        centroids = self._centroids[rng.integers(len(self._centroids))]
        if self.by_image:  # the rows are in the order of the images
            images = np.unique(centroids[:, 0])
            image = images[rng.integers(len(images))]
            first, last = np.searchsorted(centroids[:, 0], [image, image + 1])
            centroids = centroids[first:last]
        return centroids[rng.integers(len(centroids))]
