"""Brings the indices of many shards together: from the files beside them, or by a scan of the shards' headers."""

import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np

from segkit.data.shards import index as shard_index
from segkit.data.shards.addresses import protocol_of
from segkit.data.shards.cache import ShardCache
from segkit.data.shards.index import ShardIndex, check_index, scanned, unpacked
from segkit.data.shards.remote import Missing, fetch_bytes
from segkit.data.shards.tar import REMEDY
from segkit.files import DataError, open_regular, read_bytes

INDEX_BYTES = 2 << 30
"""Bytes of an index of a remote shard, at most."""

FETCHERS = 16
"""Indices of remote shards that are fetched at a time."""


class Shard(NamedTuple):
    """A shard to read: its address, and the bytes and SHA-256 that its list states, None and "" where there is none."""

    address: str
    size: int | None = None
    sha256: str = ""


def index_of(path: Path) -> Path:
    """Returns where the index of a shard of this machine lies."""
    return Path(f"{path}{shard_index.SUFFIX}")


def gathered(shards: Sequence[Shard], cache: ShardCache, *, skip_damaged: bool) -> Iterator[bytes]:
    """The packed index of each shard, and a last record: which were kept, and what was wrong with the others."""
    skipped: list[str] = []
    kept: list[int] = []
    starts = [0]
    patterns: Counter[tuple[str, ...]] = Counter()
    hashes: list[np.ndarray] = []
    for number, (shard, stored) in enumerate(_with_fetched(shards)):
        try:
            found = _index(shard, stored, cache)
            if shard.size is not None and shard.size != found.size:
                raise DataError(f"{shard.address}: {found.size:,} bytes, and its list states {shard.size:,}; {REMEDY}")
        except DataError as error:
            if not skip_damaged:
                raise
            skipped.append(str(error))
            continue
        kept.append(number)
        starts.append(starts[-1] + len(found))
        patterns += _patterns(found)
        hashes.append(_hashes(found))
        yield stored if isinstance(stored, bytes) else found.packed()
    every = np.concatenate([np.zeros(0, np.uint64), *hashes])
    every.sort()
    repeats = bool((every[1:] == every[:-1]).any())
    summary = dict(skipped=skipped, kept=kept, starts=starts, patterns=[*patterns.items()], repeats=repeats)
    yield json.dumps(summary).encode()


def _patterns(index: ShardIndex) -> Counter[tuple[str, ...]]:
    """How many samples have which kinds of files."""
    is_there = index.table[:, :, 0] > 0
    if is_there.all():
        return Counter({index.kinds: len(index)})
    rows, counts = np.unique(is_there, axis=0, return_counts=True)
    return Counter({tuple(np.array(index.kinds)[row].tolist()): int(number) for row, number in zip(rows, counts)})


def _hashes(index: ShardIndex) -> np.ndarray:
    """A number of 64 bits for each key: whether two shards hold one key is told by them."""
    if not len(index):
        return np.zeros(0, np.uint64)
    ends = index.ends.astype(np.int64)
    begins = np.concatenate([[0], ends[:-1]])
    lengths = ends - begins
    powers = np.cumprod(np.full(int(lengths.max(initial=1)), 0x9E3779B97F4A7C15, np.uint64))
    if (lengths == lengths[0]).all():  # numbered keys, in a quarter of the time
        return (index.letters.reshape(len(index), -1).astype(np.uint64) + np.uint64(1)) @ powers[: lengths[0]]
    position = np.arange(len(index.letters)) - np.repeat(begins, lengths)
    values = (index.letters.astype(np.uint64) + np.uint64(1)) * powers[position]
    return np.add.reduceat(values, begins) if len(values) else np.zeros(len(index), np.uint64)


def _with_fetched(shards: Sequence[Shard]) -> Iterator[tuple[Shard, bytes | Missing | None]]:
    """Each shard with what _fetched_index gives, a few of them fetched ahead."""
    with ThreadPoolExecutor(FETCHERS) as pool:
        for start in range(0, len(shards), FETCHERS):
            some_shards = shards[start : start + FETCHERS]
            yield from zip(some_shards, pool.map(_fetched_index, some_shards))


def _fetched_index(shard: Shard) -> bytes | Missing | None:
    """The content of the index file of a remote shard, None of a shard of this machine."""
    if not protocol_of(shard.address):
        return None
    try:
        return fetch_bytes(f"{shard.address}{shard_index.SUFFIX}", INDEX_BYTES)
    except Missing as missing:
        return missing


def _index(shard: Shard, stored: bytes | Missing | None, cache: ShardCache) -> ShardIndex:
    """The index of a shard: from the file beside it, else by a scan of its headers."""
    if isinstance(stored, bytes):
        return _checked(stored, f"{shard.address}{shard_index.SUFFIX}")
    path = cache.local(shard.address, shard.size, shard.sha256)
    name = shard.address
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        beside_it = index_of(path)
        if stored is None and beside_it.is_file():
            found = _checked(read_bytes(beside_it), str(beside_it))
            if found.size == size:
                return found
            if found.size > size:
                raise DataError(
                    f"{name}: breaks off: {size:,} of the {found.size:,} bytes that its index states; {REMEDY}"
                )
            raise DataError(f"{name}: {size:,} bytes, and its index states {found.size:,}; {shard_index.ADVICE}")
        return scanned(file, size, name)


def _checked(content: bytes, source: str) -> ShardIndex:
    found = unpacked(np.frombuffer(content, np.uint8), source)
    check_index(found, source)
    return found
