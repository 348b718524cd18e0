"""What image files hold as they are stored: types, ranges, moments, missing values, orientations.

A file is measured by `facts_of`; `Collection` adds up the files of a data set, exactly for counts, means and standard
deviations; `advice` says which keys a data set of these files needs.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

import cv2
import numpy as np
from torch.utils.data import Dataset as TorchDataset

from segkit.data.files.images import stored_image
from segkit.data.files.orientation import UPRIGHT, orientation
from segkit.files import DataError

BLOCK = 1 << 18
"""Pixels whose moments are taken at once, in float64."""

MOST_SAMPLED = 1 << 12
"""Pixels of a file that percentiles and histograms are made of, evenly spread."""

MARKERS = (-9999.0, -32768.0, -99999.0, float(np.finfo(np.float32).min), float(np.float32(-3.4e38)))
"""Values that files of measurements use for pixels without data."""

LARGE = 0.02
"""Share of an image from which on a connected area of one value at its border looks like missing data."""

LEAST_AREA = 16
"""Pixels of such an area, at least."""

APART = 0.05
"""By what share of the range of the others a value lies apart from them where it is no measurement."""


@dataclass
class Moments:
    """Count, mean and sum of squared deviations of each channel, with range; added exactly (Chan et al. 1983).

    Attributes:
        count: values of each channel.
        mean, squares, low, high: float64 [C].
    """

    count: np.ndarray
    mean: np.ndarray
    squares: np.ndarray
    low: np.ndarray
    high: np.ndarray

    @classmethod
    def of(cls, image: np.ndarray, is_left_out: np.ndarray | None = None) -> "Moments":
        """Returns the moments of an image.

        Args:
            image: [H,W,C] of any number type.
            is_left_out: bool [H,W] of pixels that do not count.
        """
        channels = image.shape[2]
        total = cls.none(channels)
        rows = max(1, BLOCK // max(image.shape[1], 1))
        for start in range(0, image.shape[0], rows):
            block = image[start : start + rows].reshape(-1, channels)
            if is_left_out is not None:
                block = block[~is_left_out[start : start + rows].reshape(-1)]
            if len(block):
                values = block.astype(np.float64)
                mean = values.mean(0)
                counts = np.full(channels, len(values))
                total = total + cls(counts, mean, ((values - mean) ** 2).sum(0), values.min(0), values.max(0))
        return total

    @classmethod
    def none(cls, channels: int) -> "Moments":
        """Returns the moments of no value."""
        zeros = np.zeros(channels)
        return cls(np.zeros(channels, np.int64), zeros, zeros, zeros + np.inf, zeros - np.inf)

    def __add__(self, other: "Moments") -> "Moments":
        count = self.count + other.count
        share = other.count / np.maximum(count, 1)
        delta = other.mean - self.mean
        return Moments(
            count,
            self.mean + delta * share,
            self.squares + other.squares + delta**2 * self.count * share,
            np.minimum(self.low, other.low),
            np.maximum(self.high, other.high),
        )

    @property
    def std(self) -> np.ndarray:
        """Standard deviation of each channel, float64 [C]."""
        return np.sqrt(self.squares / np.maximum(self.count, 1))


class Suspect(NamedTuple):
    """A value that may mark pixels without data.

    Attributes:
        value: in all channels of a pixel.
        share: of the image's pixels.
        is_sure: whether it is declared, a usual marker, or far from all others; else it may be a dark or white area.
    """

    value: float
    share: float
    is_sure: bool


@dataclass
class FileFacts:
    """What one file holds.

    Attributes:
        path: the file.
        kind: format and color mode.
        dtype: of the samples; bits: that the file declares.
        size: (H, W).
        num_alpha: samples at the end that are alpha.
        orientation: 1 to 8.
        num_nan, num_infinite: pixels.
        suspects: values that may mark missing pixels.
        moments: of the samples without NaN, infinity and sure markers.
        sample: float32 [n,C], some of these.
    """

    path: str
    kind: str
    dtype: str
    bits: int
    size: tuple[int, int]
    num_alpha: int
    orientation: int
    num_nan: int
    num_infinite: int
    suspects: list[Suspect]
    moments: Moments
    sample: np.ndarray

    @property
    def is_constant(self) -> bool:
        """Whether every channel has one value alone."""
        return bool((self.moments.low >= self.moments.high).all())

    @property
    def is_black(self) -> bool:
        """Whether every value is 0."""
        return self.is_constant and not self.moments.mean.any()


def facts_of(path: str, content: bytes | None = None) -> FileFacts:
    """Measures an image file.

    Args:
        path: the file.
        content: its bytes, where they are known already.

    Raises:
        DataError: it cannot be read.
    """
    stored = stored_image(path, content)
    image = stored.samples
    is_nan = is_infinite = np.zeros(image.shape[:2], bool)
    if image.dtype.kind == "f":
        is_nan, is_infinite = np.isnan(image).any(2), np.isinf(image).any(2)
    is_left_out = is_nan | is_infinite
    suspects = _suspects(image, is_left_out, stored.nodata)
    for suspect in suspects:
        if suspect.is_sure:
            is_left_out = is_left_out | _equal(image, suspect.value)
    step = max(1, int((image.shape[0] * image.shape[1] / MOST_SAMPLED) ** 0.5))
    sample = image[::step, ::step][~is_left_out[::step, ::step]].astype(np.float32)
    return FileFacts(
        path,
        stored.kind,
        str(image.dtype.newbyteorder("=")),
        stored.bits,
        (image.shape[0], image.shape[1]),
        stored.num_alpha,
        orientation(stored.content),
        int(is_nan.sum()),
        int(is_infinite.sum()),
        suspects,
        Moments.of(image, is_left_out),
        sample,
    )


class FactsByNumber(TorchDataset):
    """The facts of files by number, or the error's text where one cannot be read; for worker processes.

    Args:
        paths: of the files.
        content: gives the bytes of a file by its path; None from it, and as the argument, reads the path.
    """

    def __init__(self, paths: list[str], content: Callable[[str], bytes | None] | None = None):
        self.paths, self.content = paths, content

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> FileFacts | str:
        try:
            path = self.paths[index]
            return facts_of(path, self.content(path) if self.content is not None else None)
        except (DataError, OSError) as error:
            return str(error)


def _equal(image: np.ndarray, value: float) -> np.ndarray:
    """Where all channels have a value; of float32 it is rounded as the file's values are."""
    other = np.asarray(value).astype(image.dtype) if image.dtype.kind == "f" else value
    return (image == other).all(axis=2)


def _suspects(image: np.ndarray, is_left_out: np.ndarray, declared: float | None) -> list[Suspect]:
    """Values that may mark missing pixels: declared, usual, or constant over a large area at the border."""
    corners = image[[0, 0, -1, -1], [0, -1, 0, -1]]
    at_corner = {float(corner[0]) for corner in corners if (corner == corner[0]).all() and np.isfinite(corner[0])}
    candidates = {*at_corner, *MARKERS, *([declared] if declared is not None and np.isfinite(declared) else [])}
    found: list[Suspect] = []
    for value in sorted(candidates):
        is_value = _equal(image, value)
        share = float(is_value.mean())
        if not share or any(np.float32(value) == np.float32(suspect.value) for suspect in found):
            continue
        others = image[~is_value & ~is_left_out]
        if not len(others):
            continue  # a constant image, which is told apart
        if value in MARKERS or value == declared:
            found.append(Suspect(value, share, True))
        elif _area_at_border(is_value) >= LARGE:
            low, high = float(others.min()), float(others.max())
            gap = APART * (high - low)
            is_apart = image.dtype != np.uint8 and (value < low - gap or value > high + gap)
            if is_apart or value == 0:
                found.append(Suspect(value, share, is_apart))
    return found


def _area_at_border(mask: np.ndarray) -> float:
    """The share of the image that the largest connected area touching its border covers, 0 for a few pixels."""
    _, labels, table, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=4)
    border = np.unique(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]]))
    areas = [int(table[label, cv2.CC_STAT_AREA]) for label in border.tolist() if label]
    largest = max(areas, default=0)
    return largest / mask.size if largest >= LEAST_AREA else 0.0


@dataclass
class Collection:
    """The files of a data set.

    Attributes:
        files: measured, without their samples.
        moments: by number of channels.
        samples: by number of channels, one array for each file.
    """

    files: list[FileFacts] = field(default_factory=list)
    moments: dict[int, Moments] = field(default_factory=dict)
    samples: dict[int, list[np.ndarray]] = field(default_factory=dict)

    def add(self, facts: FileFacts) -> None:
        """Takes in one file."""
        channels = facts.moments.mean.shape[0]
        self.files.append(facts)
        self.moments[channels] = self.moments.get(channels, Moments.none(channels)) + facts.moments
        self.samples.setdefault(channels, []).append(facts.sample)

    @classmethod
    def of(cls, files: Iterable[FileFacts]) -> "Collection":
        """Returns the collection of some files."""
        collection = cls()
        for facts in files:
            collection.add(facts)
        return collection

    @property
    def channels(self) -> int:
        """The most frequent number of channels, 0 without a file."""
        counts = Counter({channels: int(moments.count.max()) for channels, moments in self.moments.items()})
        return counts.most_common(1)[0][0] if counts else 0

    def count(self, name: str) -> dict[str, int]:
        """Returns how many files have each value of a field of FileFacts, the most frequent first."""
        return dict(Counter(str(vars(facts)[name]) for facts in self.files).most_common())

    @property
    def turned(self) -> list[str]:
        """Files that state an orientation other than 1."""
        return [facts.path for facts in self.files if facts.orientation != UPRIGHT]

    def percentiles(self, percents: tuple[float, ...]) -> np.ndarray:
        """Returns percentiles of the sampled values, float64 [n,C] of the most frequent number of channels."""
        values = np.concatenate(self.samples[self.channels])
        return np.percentile(values, percents, axis=0) if len(values) else np.zeros((len(percents), self.channels))

    @property
    def bits_in_use(self) -> int:
        """The bits of the largest value of unsigned files, rounded up to 8, 10, 12, 14, 16, ...; 0 of others."""
        if not self.files or any(not facts.dtype.startswith("uint") for facts in self.files):
            return 0
        bits = max(
            (int(facts.moments.high.max()) for facts in self.files if not facts.is_constant), default=0
        ).bit_length()
        return max(8, bits + bits % 2) if bits <= 16 else bits
