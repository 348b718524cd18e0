"""Samplers: which image comes at which position of the endless training stream.

Samplers are functions of (seed, position), so that any number of worker processes, and a resumed run, see the same
stream.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from segkit.constraints.named import NonNegativeInt, PositiveInt
from segkit.data.concat import Concat
from segkit.data.dataset import Dataset
from segkit.files import DataError
from segkit.registry import SAMPLERS, ConfigError, build
from segkit.types import WithArguments


class Sampler(WithArguments):
    """Base class: chooses an image of the data set for each position 0, 1, 2, ... of the training stream.

    A subclass gives `index`, and `focus` where it chooses a pixel of the image too.

    Args:
        dataset: the training set, not empty.
        seed: of all random choices.

    Attributes:
        num_images: items of the data set.
        epoch: images of an epoch.
        seed: as given.
    """

    def __init__(self, dataset: Dataset, seed: NonNegativeInt = 0):
        if len(dataset) == 0:
            raise DataError(f"{type(dataset).__name__}: the data set holds no image; check root and split")
        self.num_images = self.epoch = len(dataset)
        self.seed = seed

    def index(self, position: int) -> int:
        """Returns the index of the data set for a position of the stream."""
        raise NotImplementedError(f"{type(self).__name__} gives no index()")

    def focus(self, position: int) -> tuple[int, int] | None:
        """Returns the pixel (y, x) of the stored image that the transform FocusCrop crops around, or None for any."""
        return None


@SAMPLERS.register
class Shuffle(Sampler):
    """Every image once per epoch, each epoch in a random order.

    Args:
        dataset: the training set.
        seed: of the orders.
    """

    def __init__(self, dataset: Dataset, seed: NonNegativeInt = 0):
        super().__init__(dataset, seed)
        self._epoch = -1
        self._order: np.ndarray = np.arange(0)

    def index(self, position: int) -> int:
        epoch, offset = divmod(position, self.num_images)
        if epoch != self._epoch:
            # the permutation that rng.permutation gives, in half its memory
            order: np.ndarray = np.arange(self.num_images, dtype=np.int32 if self.num_images < 1 << 31 else np.int64)
            np.random.default_rng([self.seed, epoch]).shuffle(order)
            self._epoch, self._order = epoch, order
        return int(self._order[offset])


@SAMPLERS.register
class ShardShuffle(Sampler):
    """Every image once per epoch, read from a few shards at a time, for shards that are copied from elsewhere.

    Each epoch the shards are put in a random order and dealt out to groups of `shards`; the images of a group come in
    a random order, one group after the other. While a group is read the next one is copied. On a disk of this machine
    `Shuffle`, which mixes all images, costs no more.

    Args:
        dataset: the training set, of shards, or parts or joins of such sets.
        seed: of the orders.
        shards: that are mixed at a time; as many again are copied meanwhile, which cache_gb must have room for.

    Raises:
        ConfigError: the data set has no shards.
    """

    def __init__(self, dataset: Dataset, seed: NonNegativeInt = 0, *, shards: PositiveInt = 16):
        super().__init__(dataset, seed)
        if dataset.blocks is None:
            raise ConfigError(f"ShardShuffle: {type(dataset).__name__} has no shards; use Shuffle")
        self.dataset, self.shards = dataset, shards
        blocks = np.asarray(dataset.blocks, np.int64)
        is_filled = np.diff(blocks) > 0
        self._begins, self._ends = blocks[:-1][is_filled], blocks[1:][is_filled]
        self._epoch, self._group = -1, -1
        self._groups: list[np.ndarray] = []
        self._group_ends = self._order = np.arange(0)

    def index(self, position: int) -> int:
        epoch, offset = divmod(position, self.num_images)
        if epoch != self._epoch:
            order = np.random.default_rng([self.seed, epoch]).permutation(len(self._begins))
            self._groups = [order[first : first + self.shards] for first in range(0, len(order), self.shards)]
            lengths = self._ends - self._begins
            self._group_ends = np.cumsum([lengths[group].sum() for group in self._groups])
            self._epoch, self._group = epoch, -1
        group = int(np.searchsorted(self._group_ends, offset, side="right"))
        if group != self._group:
            images = [np.arange(self._begins[shard], self._ends[shard]) for shard in self._groups[group]]
            self._order = np.random.default_rng([self.seed, epoch, group]).permutation(np.concatenate(images))
            self._group = group
            if group + 1 < len(self._groups):
                self.dataset.read_ahead(self._begins[self._groups[group + 1]].tolist())
        first = int(self._group_ends[group]) - len(self._order)
        return int(self._order[offset - first])


@SAMPLERS.register
class InOrder(Sampler):
    """Images in the order of the data set, again and again.

    Args:
        dataset: the training set.
        seed: not used.
    """

    def index(self, position: int) -> int:
        return position % self.num_images


@SAMPLERS.register
class AspectGrouped(Sampler):
    """Batches of images that are all wider than high, or all not, so that little of a batch is padding.

    Every image appears once per epoch, in batches of `batch` images; the stream is a sequence of such batches. The last
    batch of each of the two groups is filled up with images of that group a second time.

    Args:
        dataset: the training set, with `sizes`.
        seed: of the orders.
        batch: images per batch, a multiple of train.batch_size, so that each process gets images of one group; with the
            global batch size all processes get the same group.

    Raises:
        ConfigError: where the data set has no `sizes`, or `batch` is below 1.
    """

    def __init__(self, dataset: Dataset, seed: NonNegativeInt = 0, *, batch: PositiveInt = 2):
        super().__init__(dataset, seed)
        sizes = dataset.sizes
        if sizes is None:
            raise ConfigError(f"AspectGrouped: {type(dataset).__name__} does not tell its images' sizes; use Shuffle")
        if batch < 1:
            raise ConfigError(f"AspectGrouped.batch = {batch}: must be at least 1, a multiple of train.batch_size")
        is_wide = sizes[:, 1] > sizes[:, 0]
        self.batch = batch
        self._groups = [np.flatnonzero(is_wide), np.flatnonzero(~is_wide)]
        self._length = sum(-(-len(group) // batch) * batch for group in self._groups)
        self._epoch, self._order = -1, np.arange(0)

    def index(self, position: int) -> int:
        epoch, offset = divmod(position, self._length)
        if epoch != self._epoch:
            rng = np.random.default_rng([self.seed, epoch])
            rows = [self._in_batches(rng.permutation(group)) for group in self._groups]
            self._epoch, self._order = epoch, rng.permutation(np.concatenate(rows)).ravel()
        return int(self._order[offset])

    def _in_batches(self, indices: np.ndarray) -> np.ndarray:
        """The indices as [batches, batch], starting over where they do not fill the last row."""
        count = -(-len(indices) // self.batch)
        return np.resize(indices, (count, self.batch))


@SAMPLERS.register
class Interleaved(Sampler):
    """A fixed number of images of each part of a joined data set, in turn: labelled and pseudo-labelled ones.

    With counts (4, 4), positions 0 to 3 are of the first part, 4 to 7 of the second, and so on; each part has a sampler
    of its own. Every batch holds the parts in this ratio where train.batch_size is a multiple of the sum of the counts.

    Args:
        dataset: a Concat.
        seed: of the samplers of the parts.
        counts: images of each part.
        samplers: dict(type=..., arguments) for each part; None for Shuffle.

    Raises:
        ConfigError: there is not one count, or not one sampler, for each part.
    """

    configs = {"samplers": SAMPLERS}

    def __init__(
        self,
        dataset: Dataset,
        seed: NonNegativeInt = 0,
        *,
        counts: Sequence[PositiveInt] = (1, 1),
        samplers: Sequence[dict] | None = None,
    ):
        super().__init__(dataset, seed)
        if not isinstance(dataset, Concat):
            raise ConfigError(f"Interleaved: {type(dataset).__name__} has no parts; join data sets by Concat")
        parts = dataset.datasets
        rows = [{"type": "Shuffle"}] * len(parts) if samplers is None else list(samplers)
        for name, values in (("counts", counts), ("samplers", rows)):
            if len(values) != len(parts):
                raise ConfigError(f"Interleaved.{name}: {len(values)} for {len(parts)} data sets; give one for each")
        self.counts, self.samplers = tuple(counts), samplers
        self._samplers: list[Sampler] = [
            build(row, SAMPLERS, f"train.sampler.samplers.{i}", dataset=part, seed=seed)
            for i, (row, part) in enumerate(zip(rows, parts))
        ]
        self._starts = np.cumsum([0, *self.counts])
        self._offsets = np.cumsum([0, *map(len, parts)])

    def index(self, position: int) -> int:
        part, inner = self._locate(position)
        return int(self._offsets[part]) + self._samplers[part].index(inner)

    def focus(self, position: int) -> tuple[int, int] | None:
        """Returns the pixel that the sampler of the part has chosen, or None."""
        part, inner = self._locate(position)
        return self._samplers[part].focus(inner)

    def _locate(self, position: int) -> tuple[int, int]:
        """The part that a position of the stream shows, and the position in that part's own stream."""
        turn, place = divmod(position, int(self._starts[-1]))
        part = int(np.searchsorted(self._starts, place, side="right")) - 1
        return part, turn * self.counts[part] + place - int(self._starts[part])


def batches(
    sampler: Sampler, batch_size: int, *, start: int = 0, rank: int = 0, world_size: int = 1
) -> Iterator[list[tuple[int, int]]]:
    """Yields the endless batches of one process.

    Step s of the whole run holds the positions s * G to (s + 1) * G - 1 with G = batch_size * world_size; each process
    takes its slice, so that the global batch is the same however many processes share it.

    Args:
        sampler: gives the index for each position.
        batch_size: items per process.
        start: number of the first batch, for resumed runs.
        rank: number of this process.
        world_size: number of processes.

    Yields:
        `batch_size` pairs (position, index).
    """
    number = start
    while True:
        first = (number * world_size + rank) * batch_size
        yield [(position, sampler.index(position)) for position in range(first, first + batch_size)]
        number += 1


def shard(num_images: int, rank: int = 0, world_size: int = 1) -> list[int]:
    """Returns the indices one process scores.

    Over all processes every image comes exactly once: none is repeated to make the shares equal.

    Args:
        num_images: items of the data set.
        rank: number of this process.
        world_size: number of processes.
    """
    return list(range(rank, num_images, world_size))
