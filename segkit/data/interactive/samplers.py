"""Samplers of training images with replacement: uniform, or hard images more often."""

from pathlib import Path

import numpy as np

from segkit.constraints.named import NonNegativeFloat, NonNegativeInt
from segkit.data.dataset import Dataset
from segkit.data.files.plain_pickle import load_plain
from segkit.data.samplers import Sampler
from segkit.files import DataError
from segkit.registry import SAMPLERS, ConfigError

STREAM = 1
"""Keeps this stream of random numbers apart from that of [seed, position], which the transforms draw from."""


@SAMPLERS.register
class Uniform(Sampler):
    """Draws every image with the same probability and with replacement.

    RITM's epochs of a fixed number of samples.

    Args:
        dataset: the training set.
        seed: another seed gives another order.
    """

    def index(self, position: int) -> int:
        """Index of the image at a position of the stream."""
        return int(np.random.default_rng([self.seed, position, STREAM]).integers(self.num_images))


@SAMPLERS.register
class ByScore(Sampler):
    """Draws hard images more often: with replacement and probability proportional to (1 - score)^gamma.

    RITM's setting for SBD.

    Args:
        dataset: the training set.
        scores: pickle file of a list of (index, image name, score in 0..1), where the score is the IoU that an earlier
            model reached. Images without an entry are never drawn. The file is read without executing anything in it.
        seed: another seed gives another order.
        gamma: 0 draws all listed images with the same probability; the larger, the more often hard ones are drawn.

    Raises:
        ConfigError: gamma is negative.
        DataError: the file is no such list, does not fit the data set, or all of its scores are 1.
    """

    def __init__(self, dataset: Dataset, scores: str, seed: NonNegativeInt = 0, gamma: NonNegativeFloat = 1.25):
        super().__init__(dataset, seed)
        if gamma < 0:
            raise ConfigError(f"ByScore.gamma = {gamma}: must be at least 0, which draws all images alike")
        indices, values = read_scores(scores, dataset)
        weights = (1.0 - values) ** gamma
        if not weights.sum() > 0:
            raise DataError(f"{scores}: every score is 1, so no image would be drawn")
        self.indices = indices
        self.limits = np.cumsum(weights) / weights.sum()

    def index(self, position: int) -> int:
        """Index of the image at a position of the stream."""
        uniform = np.random.default_rng([self.seed, position, STREAM]).random()
        row = int(np.searchsorted(self.limits, uniform, side="right"))
        return int(self.indices[min(row, len(self.indices) - 1)])


def read_scores(path: str, dataset: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Reads the score file of `ByScore`.

    An entry means the image of its name. Its index is used where that image has the name, or where the entry has no
    name.

    Args:
        path: pickle file of a list of (index, image name, score).
        dataset: the data set that the entries name.

    Returns:
        Indices in the data set, int64 [n], and scores, float64 [n].

    Raises:
        DataError: the file is no such list, or names an image that the data set does not hold.
    """
    entries = load_plain(path)
    try:
        rows = [(int(index), str(name or ""), float(score)) for index, name, score in entries]
    except (TypeError, ValueError, OverflowError) as error:
        raise DataError(f"{path}: expected a list of (index, image name, score): {error}") from error
    if not rows:
        raise DataError(f"{path}: the list of scores is empty")
    names = [Path(str(name)).stem for name in dataset.ids]
    index_of: dict[str, int] = {}
    indices = np.zeros(len(rows), np.int64)
    for row, (index, name, score) in enumerate(rows):
        if not 0 <= score <= 1:
            raise DataError(f"{path}: entry {row} has score {score}; scores must lie in 0..1")
        stem = Path(name).stem
        if not 0 <= index < len(names) or (stem and names[index] != stem):
            index_of = index_of or {other: position for position, other in enumerate(names)}
            if stem not in index_of:
                raise DataError(
                    f"{path}: entry {row}, image '{name}' (index {index}), is none of the {len(names)} images of "
                    f"{type(dataset).__name__}; were the scores made for another split?"
                )
            index = index_of[stem]
        indices[row] = index
    return indices, np.array([score for _, _, score in rows], np.float64)
