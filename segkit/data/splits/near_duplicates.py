"""Finds the images of one set that look like those of another, without comparing every pair.

A pair is near where the hashes differ in few of 64 bits and the thumbnails agree as well, or where the files are equal
byte by byte. Hashes that differ in at most d bits agree in one of four words of 16 bits but for d // 4 bits, so words
are looked up in sorted tables with all changes of so many bits.
"""

import contextlib
import os
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from functools import cache
from itertools import combinations
from typing import NamedTuple

import numpy as np

from segkit.data.dataset import Dataset
from segkit.data.splits.image_hash import Look, LookBook

DISTANCE = 10
"""Bits of 64 that may differ."""

MOST_DISTANCE = 15
"""Beyond this the search would look up more words than there are pairs."""

AGREEMENT = 0.95
"""Least correlation of the thumbnails."""

WORDS, WORD_BITS = 4, 16

MOST_PAIRS = 1 << 22
"""Candidates compared at once."""


class Pair(NamedTuple):
    """Two images that look alike.

    Attributes:
        first: path of an image of the first set.
        second: path of one of the second set.
        distance: bits in which the hashes differ, of 64.
        agreement: correlation of the thumbnails, to 1.
        is_equal: whether the files are equal byte by byte.
    """

    first: str
    second: str
    distance: int
    agreement: float
    is_equal: bool


@cache
def _bit_counts() -> np.ndarray:
    """The number of bits of each word, uint8 [65536]."""
    return (
        np.unpackbits(np.arange(1 << WORD_BITS, dtype=">u2").view(np.uint8).reshape(-1, 2), axis=1).sum(1).astype("u1")
    )


def bit_distances(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Counts the bits in which hashes differ.

    Args:
        first: uint64 [n].
        second: uint64 [n].

    Returns:
        int64 [n].
    """
    words = (first ^ second).view(np.uint16).reshape(-1, WORDS)
    return _bit_counts()[words].sum(1, dtype=np.int64)


def near_pairs(first: Mapping[str, Look], second: Mapping[str, Look], distance: int = DISTANCE) -> list[Pair]:
    """Finds all pairs of images, one of each set, that look alike.

    Args:
        first: looks by path.
        second: looks by path; a path of both sets is no pair with itself.
        distance: bits of 64 that may differ, 0 to 15.

    Returns:
        The pairs, the most alike first.
    """
    names = list(first), list(second)
    if not names[0] or not names[1]:
        return []
    bits = [np.array([one.bits for one in looks.values()], np.uint64) for looks in (first, second)]
    thumbs = [np.stack([one.thumb for one in looks.values()]).astype(np.float32) for looks in (first, second)]
    norms = [np.sqrt((table**2).sum(1)) for table in thumbs]
    digests = [one.digest for one in first.values()], [one.digest for one in second.values()]
    found: dict[tuple[int, int], Pair] = {}
    for rows, columns in _candidates(bits[0], bits[1], distance):
        apart = bit_distances(bits[0][rows], bits[1][columns])
        near = apart <= distance
        rows, columns, apart = rows[near], columns[near], apart[near]
        scale = np.maximum(norms[0][rows] * norms[1][columns], 1e-6)
        alike = np.einsum("nk,nk->n", thumbs[0][rows], thumbs[1][columns]) / scale
        for i, j, bits_apart, value in zip(rows.tolist(), columns.tolist(), apart.tolist(), alike.tolist()):
            if value >= AGREEMENT and names[0][i] != names[1][j]:
                is_equal = bool(digests[0][i]) and digests[0][i] == digests[1][j]
                found[i, j] = Pair(names[0][i], names[1][j], bits_apart, min(value, 1.0), is_equal)
    of_digest: dict[str, list[int]] = {}
    for j, digest in enumerate(digests[1]):
        of_digest.setdefault(digest, []).append(j)
    for i, digest in enumerate(digests[0]):  # flat images are found by their bytes alone
        for j in of_digest.get(digest, ()) if digest else ():
            if (i, j) not in found and names[0][i] != names[1][j]:
                found[i, j] = Pair(names[0][i], names[1][j], 0, 1.0, is_equal=True)
    return sorted(found.values(), key=lambda pair: (not pair.is_equal, pair.distance, -pair.agreement, *pair[:2]))


def _candidates(first: np.ndarray, second: np.ndarray, distance: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Indices of pairs that agree in a word but for distance // 4 bits: all near pairs, and others; some repeatedly."""
    words = [hashes.view(np.uint16).reshape(-1, WORDS) for hashes in (first, second)]
    for word in range(WORDS):
        order = np.argsort(words[1][:, word], kind="stable")
        table = words[1][order, word]
        for change in _changes(distance // WORDS):
            wanted = words[0][:, word] ^ change
            start = np.searchsorted(table, wanted, side="left")
            counts = np.searchsorted(table, wanted, side="right") - start
            ends = np.cumsum(counts)
            # in pieces, since many equal words (black images) give many pairs
            for begin in range(0, int(ends[-1]), MOST_PAIRS):
                numbers = np.arange(begin, min(begin + MOST_PAIRS, int(ends[-1])))
                rows = np.searchsorted(ends, numbers, side="right")
                yield rows, order[start[rows] + numbers - (ends[rows] - counts[rows])]


@cache
def _changes(most: int) -> tuple[np.uint16, ...]:
    """All words with at most so many bits."""
    chosen = [bits for count in range(most + 1) for bits in combinations(range(WORD_BITS), count)]
    return tuple(np.uint16(sum(1 << bit for bit in bits)) for bits in chosen)


MOST_LOOKED, MOST_BYTES = 24, 1 << 24
"""Images of `val` that a quick search looks at, and bytes of a file that it reads at most."""


class QuickSearch(NamedTuple):
    """What a quick search found.

    Attributes:
        pairs: an image of `train` and one of `val` each, the most alike first.
        looked: images of `val` that were looked at.
    """

    pairs: list[Pair]
    looked: int


def quick_search(train: Dataset, val: Dataset, book: LookBook) -> QuickSearch:
    """Looks for copies of some images of `val` in `train`, in about a second.

    Looked at are images of `val` evenly spread with the two of `train` whose file names come before and after, as
    frames of one video do, and those with a file of exactly the same size in `train`.

    Args:
        train: a data set.
        val: another one.
        book: keeps the looks.
    """
    sizes = [_sizes(dataset) for dataset in (train, val)]
    if not all(sizes):
        return QuickSearch([], 0)
    of_path = [{dataset.path(index): index for index in range(len(dataset))} for dataset in (train, val)]
    by_name = sorted((os.path.basename(path), path) for path in sizes[0])
    of_size: dict[int, list[str]] = {}
    for path, size in sizes[0].items():
        of_size.setdefault(size, []).append(path)
    paths = sorted(sizes[1])
    spread = [paths[i] for i in np.unique(np.linspace(0, len(paths) - 1, MOST_LOOKED).round().astype(int))]
    # more than two files of one size are of a format that does not compress
    equal = [path for path in paths if 0 < len(of_size.get(sizes[1][path], ())) <= 2][:MOST_LOOKED]
    partners: dict[str, None] = {}
    for path in spread:
        place = bisect_left(by_name, (os.path.basename(path), path))
        partners |= dict.fromkeys(other for _, other in by_name[max(place - 1, 0) : place + 1])
    for path in equal:
        partners |= dict.fromkeys(of_size[sizes[1][path]])
    looked = list(dict.fromkeys([*spread, *equal]))
    first = book.looks(train, [of_path[0][path] for path in partners])
    second = book.looks(val, [of_path[1][path] for path in looked])
    return QuickSearch(near_pairs(first, second), len(second))


def _sizes(dataset: Dataset) -> dict[str, int]:
    """Sizes of the image files of a data set that are small enough to be read at a start."""
    sizes: dict[str, int] = {}
    for path in dict.fromkeys(dataset.path(index) for index in range(len(dataset))):
        with contextlib.suppress(OSError, ValueError):
            size = os.stat(path).st_size
            if os.path.isfile(path) and size <= MOST_BYTES:
                sizes[path] = size
    return sizes
