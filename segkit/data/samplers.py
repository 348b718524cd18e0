"""Which image stands at which position of the endless training stream: functions of (seed, position), so that any
number of workers or processes, and a resumed run, see the same stream."""

from collections.abc import Iterator

import numpy as np

from segkit.data.dataset import Dataset
from segkit.files import DataError
from segkit.registry import SAMPLERS, ConfigError


class Sampler:
    """Base: `index(position)` -> index of the data set for a position 0, 1, 2, ... of the stream."""

    def __init__(self, dataset: Dataset, seed: int = 0):
        if len(dataset) == 0:
            raise DataError(f"{type(dataset).__name__}: the data set holds no image; check root and split")
        self.num_images = len(dataset)
        self.seed = seed

    def index(self, position: int) -> int:
        raise NotImplementedError(f"{type(self).__name__} gives no index()")

    def focus(self, position: int) -> tuple[int, int] | None:
        """-> (y, x), the pixel of the stored image that a FocusCrop cuts around, or None for any place."""
        return None


@SAMPLERS.register
class Shuffle(Sampler):
    """Every image once per epoch, in an order of its own for each epoch."""

    def __init__(self, dataset: Dataset, seed: int = 0):
        super().__init__(dataset, seed)
        self._epoch, self._order = -1, np.arange(0)

    def index(self, position: int) -> int:
        epoch, place = divmod(position, self.num_images)
        if epoch != self._epoch:
            order = np.random.default_rng([self.seed, epoch]).permutation(self.num_images)
            self._epoch, self._order = epoch, order
        return int(self._order[place])


@SAMPLERS.register
class InOrder(Sampler):
    """Images in the order of the data set, again and again."""

    def index(self, position: int) -> int:
        return position % self.num_images


@SAMPLERS.register
class AspectGrouped(Sampler):
    """Batches of images that are all wider than high, or all not, so that little of a batch is padding.

    Every image once per epoch, in batches of `batch`, of which the stream is a sequence: `batch` is a multiple of
    train.batch_size, so that each process has one kind; with the global batch all processes have the same. The last
    batch of each kind is filled with images of it again. The data set has `sizes`, int [images, 2] of (H, W).
    """

    def __init__(self, dataset: Dataset, seed: int = 0, *, batch: int = 2):
        super().__init__(dataset, seed)
        sizes = getattr(dataset, "sizes", None)
        if sizes is None:
            raise ConfigError(f"AspectGrouped: {type(dataset).__name__} does not tell its images' sizes; use Shuffle")
        if batch < 1:
            raise ConfigError(f"AspectGrouped.batch = {batch}: at least 1, a multiple of train.batch_size")
        is_wide = sizes[:, 1] > sizes[:, 0]
        self._kinds = [np.flatnonzero(is_wide), np.flatnonzero(~is_wide)]
        self._batch = batch
        self._length = sum(-(-len(kind) // batch) * batch for kind in self._kinds)
        self._epoch, self._order = -1, np.arange(0)

    def index(self, position: int) -> int:
        epoch, place = divmod(position, self._length)
        if epoch != self._epoch:
            rng = np.random.default_rng([self.seed, epoch])
            rows = [self._in_batches(rng.permutation(kind)) for kind in self._kinds]
            self._epoch, self._order = epoch, rng.permutation(np.concatenate(rows)).ravel()
        return int(self._order[place])

    def _in_batches(self, indices: np.ndarray) -> np.ndarray:
        """-> [batches, batch] of the indices, beginning again where they do not fill the last row."""
        count = -(-len(indices) // self._batch)
        return np.resize(indices, (count, self._batch))


def batches(
    sampler: Sampler, batch_size: int, *, start: int = 0, rank: int = 0, world_size: int = 1
) -> Iterator[list[tuple[int, int]]]:
    """Endless batches of (position, index) for one process, from batch number `start` on.

    Step s of the whole run holds the positions s * G to (s + 1) * G - 1 with G = batch_size * world_size; each process
    takes its slice, so that the global batch is the same however many processes share it.
    """
    number = start
    while True:
        first = (number * world_size + rank) * batch_size
        yield [(position, sampler.index(position)) for position in range(first, first + batch_size)]
        number += 1


def shard(num_images: int, rank: int = 0, world_size: int = 1) -> list[int]:
    """Indices one process scores: every image exactly once over all processes, none repeated to fill up."""
    return list(range(rank, num_images, world_size))
