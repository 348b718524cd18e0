"""The index of a shard: where each file of each sample lies, in arrays that are mapped and never read as a whole.

A sample is a row, a kind of file (jpg, mask.png, json) a column; an entry is the file's first block and its bytes.
n samples, S kinds.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np

from segkit.data.files.flat_index import LazySequence
from segkit.data.shards.tar import BLOCK, REMEDY, members
from segkit.files import DataError, brief, parse_json

START = b"segkit shard 1\n\0"
"""First 16 bytes of an index."""

SUFFIX = ".index"
"""What the name of an index has after its shard's."""

MOST_KINDS = 64
"""Kinds of files in a shard, at most."""

ADVICE = "remove the index, and the shard is read once in its place"


@dataclass(frozen=True)
class ShardIndex:
    """What a shard holds.

    Attributes:
        kinds: suffixes of its files, S.
        table: uint32 [n, S, 2], first block of 512 bytes and bytes of each file; (0, 0) for none.
        ends: uint32 [n], where each key ends in `letters`.
        letters: uint8, the keys in UTF-8, one after the other.
        size: bytes of the shard.
        sha256: of the shard, "" where it is not known.
    """

    kinds: tuple[str, ...]
    table: np.ndarray
    ends: np.ndarray
    letters: np.ndarray
    size: int
    sha256: str = ""

    def __len__(self) -> int:
        return len(self.table)

    def key(self, row: int) -> str:
        """Returns the key of a sample."""
        start = int(self.ends[row - 1]) if row else 0
        return self.letters[start : self.ends[row]].tobytes().decode("utf-8", "surrogateescape")

    def place(self, row: int, column: int) -> tuple[int, int]:
        """Returns where a file begins, in bytes, and its bytes; (0, 0) for none."""
        block, size = self.table[row, column].tolist()
        return block * BLOCK, size

    def packed(self) -> bytes:
        """Returns the content of an index file, a multiple of 8 bytes."""
        about = dict(kinds=self.kinds, samples=len(self), letters=len(self.letters), size=self.size, sha256=self.sha256)
        head = json.dumps(about).encode()
        head += b" " * (-len(head) % 8)
        body = b"".join(np.ascontiguousarray(a, "<u4").tobytes() for a in (self.table, self.ends))
        body += self.letters.tobytes()
        return START + len(head).to_bytes(8, "little") + head + body + b"\0" * (-len(body) % 8)


def unpacked(content: np.ndarray, source: str) -> ShardIndex:
    """Reads an index without copying its arrays.

    Args:
        content: uint8, of an index file.
        source: its name, for errors.

    Raises:
        DataError: it is none, breaks off, or names a place beyond the end of the shard.
    """
    if content[:16].tobytes() != START:
        raise DataError(f"{source}: no index of a shard; {ADVICE}")
    length = int.from_bytes(content[16:24].tobytes(), "little")
    about: Any = parse_json(content[24 : 24 + length].tobytes(), source) if length <= len(content) else None
    try:
        samples, letters, size = (int(about[name]) for name in ("samples", "letters", "size"))
        kinds, sha256 = tuple(map(str, about["kinds"])), str(about["sha256"])
    except (TypeError, KeyError, ValueError, OverflowError) as error:
        raise DataError(f"{source}: an index without the numbers of its files; {ADVICE}") from error
    start, cells = 24 + length, 2 * samples * len(kinds)
    end = start + 4 * (cells + samples) + letters
    if min(samples, letters, size) < 0 or len(kinds) > MOST_KINDS or end > len(content):
        raise DataError(f"{source}: an index that breaks off; {ADVICE}")
    table = content[start : start + 4 * cells].view("<u4").reshape(samples, len(kinds), 2)
    ends = content[start + 4 * cells : start + 4 * (cells + samples)].view("<u4")
    return ShardIndex(kinds, table, ends, content[end - letters : end], size, sha256)


def check_index(index: ShardIndex, source: str) -> None:
    """Checks that every file lies in its shard, and every key in its letters.

    Raises:
        DataError: one does not.
    """
    table = index.table.astype(np.int64)
    beyond = (table[..., 0] * BLOCK + table[..., 1] > index.size).any()
    ends = index.ends.astype(np.int64)
    if beyond or (len(ends) and (ends[-1] > len(index.letters) or (np.diff(ends, prepend=0) < 0).any())):
        raise DataError(f"{source}: an index that names places beyond its shard; {ADVICE}")


class IndexMaker:
    """Collects the files of a shard in their order and makes its index.

    Args:
        source: the shard, for errors.
    """

    def __init__(self, source: str):
        self.source = source
        self._columns: dict[str, int] = {}
        self._keys: dict[str, int] = {}
        self._cells: list[tuple[int, int, int, int]] = []
        self._last = ""

    def add(self, key: str, suffix: str, offset: int, size: int) -> None:
        """Takes a file.

        Raises:
            DataError: the files of its sample do not lie together, it is there twice, or there are too many kinds.
        """
        if key != self._last and key in self._keys:
            raise DataError(f"{self.source}: the files of {brief(key)} do not lie together, byte {offset}; {REMEDY}")
        row = self._keys.setdefault(key, len(self._keys))
        column = self._columns.setdefault(suffix, len(self._columns))
        if column >= MOST_KINDS:
            raise DataError(
                f"{self.source}: more than {MOST_KINDS} kinds of files, the last .{suffix} of {brief(key)}; a name is "
                "KEY.SUFFIX, split at its first dot"
            )
        self._last = key
        self._cells.append((row, column, offset // BLOCK, size))

    def index(self, size: int, sha256: str = "") -> ShardIndex:
        """Returns the index of what was added.

        Args:
            size: bytes of the shard.
            sha256: of the shard.

        Raises:
            DataError: a file is there twice.
        """
        table = np.zeros((len(self._keys), len(self._columns), 2), np.uint32)
        cells = np.array(self._cells, np.int64).reshape(-1, 4)
        table[cells[:, 0], cells[:, 1]] = cells[:, 2:]
        if int((table[..., 0] > 0).sum()) != len(cells):
            seen: set[tuple[int, int]] = set()
            twice = next(cell for cell in self._cells if cell[:2] in seen or seen.add(cell[:2]))  # type: ignore[func-returns-value]
            key, suffix = [*self._keys][twice[0]], [*self._columns][twice[1]]
            raise DataError(f"{self.source}: {brief(f'{key}.{suffix}')} is there twice; {REMEDY}")
        encoded = [key.encode("utf-8", "surrogateescape") for key in self._keys]
        letters = np.frombuffer(b"".join(encoded), np.uint8)
        ends = np.cumsum([len(key) for key in encoded], dtype=np.uint32)
        return ShardIndex(tuple(self._columns), table, ends, letters, size, sha256)


def scanned(file: BinaryIO, size: int, source: str) -> ShardIndex:
    """Makes the index of a shard that has none, by its headers.

    Args:
        file: the shard.
        size: its bytes.
        source: its name, for errors.

    Raises:
        DataError: the shard is damaged, or holds what it must not.
    """
    maker = IndexMaker(source)
    for member in members(file, size, source):
        maker.add(*member)
    return maker.index(size)


class Keys(LazySequence[str]):
    """The keys of all samples, made when they are read.

    Args:
        starts: int64 [shards + 1], number of the first sample of each shard.
        shards: gives the index of a shard by its number.
        prefixes: of the keys of each shard; empty where keys are unique without.
    """

    def __init__(self, starts: np.ndarray, shards: Sequence[ShardIndex], prefixes: Sequence[str] = ()):
        self._starts, self._shards, self._prefixes = starts, shards, prefixes

    def __len__(self) -> int:
        return int(self._starts[-1])

    def item(self, index: int) -> str:
        """Reads a key, with dots as they were in the name of the image; see `as_key`."""
        index = range(len(self))[index]
        number = int(np.searchsorted(self._starts, index, side="right")) - 1
        prefix = self._prefixes[number] if self._prefixes else ""
        return prefix + as_id(self._shards[number].key(index - int(self._starts[number])))


def as_key(name: str) -> str:
    """Returns the key under which a shard holds an item: dots of the last part would begin the suffix."""
    folder, slash, last = name.replace("%", "%25").rpartition("/")
    return folder + slash + last.replace(".", "%2E")


def as_id(key: str) -> str:
    """Returns the name of the item whose key is given."""
    return key.replace("%2E", ".").replace("%25", "%") if "%" in key else key
