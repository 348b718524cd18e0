"""Orders of training images with replacement: uniform, or the hard ones more often."""

from pathlib import Path

import numpy as np

from segkit.data.dataset import Dataset
from segkit.data.files.plain_pickle import load_plain
from segkit.data.samplers import Sampler
from segkit.files import DataError
from segkit.registry import SAMPLERS, ConfigError

STREAM = 1
"""Apart from the stream of [seed, position], which the transforms draw from."""


@SAMPLERS.register
class Uniform(Sampler):
    """Every position draws any image, equally likely, with replacement: RITM's epochs of a fixed number of samples."""

    def index(self, position: int) -> int:
        return int(np.random.default_rng([self.seed, position, STREAM]).integers(self.num_images))


@SAMPLERS.register
class ByScore(Sampler):
    """Draws images with replacement and probability proportional to (1 - score)^gamma: the hard ones more often.

    scores: pickle file of a list of (index, image name, score in 0..1), the score being the IoU a former model reached;
    images without an entry are never drawn. It is read without executing anything. RITM's setting for SBD.
    """

    def __init__(self, dataset: Dataset, scores: str, seed: int = 0, gamma: float = 1.25):
        super().__init__(dataset, seed)
        if gamma < 0:
            raise ConfigError(f"ByScore.gamma = {gamma}: at least 0, which draws all images alike")
        indices, values = read_scores(scores, dataset)
        weights = (1.0 - values) ** gamma
        if not weights.sum() > 0:
            raise DataError(f"{scores}: every score is 1, so no image would be drawn")
        self.indices = indices
        self.limits = np.cumsum(weights) / weights.sum()

    def index(self, position: int) -> int:
        uniform = np.random.default_rng([self.seed, position, STREAM]).random()
        place = np.searchsorted(self.limits, uniform, side="right")
        return int(self.indices[min(place, len(self.indices) - 1)])


def read_scores(path: str, dataset: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """path: file of ByScore -> indices of the data set int64 [n], scores float64 [n].

    An entry means the image of its name; its index serves where that image has the name, or the entry has none.
    DataError where the file is no such list or names an image that the data set does not hold.
    """
    entries = load_plain(path)
    try:
        rows = [(int(index), str(name or ""), float(score)) for index, name, score in entries]
    except (TypeError, ValueError) as error:
        raise DataError(f"{path}: expected a list of (index, image name, score): {error}") from error
    if not rows:
        raise DataError(f"{path}: the list of scores is empty")
    names = [Path(str(name)).stem for name in dataset.ids]
    places: dict[str, int] = {}
    indices = np.zeros(len(rows), np.int64)
    for row, (index, name, score) in enumerate(rows):
        if not 0 <= score <= 1:
            raise DataError(f"{path}: entry {row} has score {score}; scores lie in 0..1")
        stem = Path(name).stem
        if not 0 <= index < len(names) or (stem and names[index] != stem):
            places = places or {other: place for place, other in enumerate(names)}
            if stem not in places:
                raise DataError(
                    f"{path}: entry {row}, image '{name}' (index {index}) is none of the {len(names)} images of "
                    f"{type(dataset).__name__}; were the scores made for another split?"
                )
            index = places[stem]
        indices[row] = index
    return indices, np.array([score for _, _, score in rows], np.float64)
