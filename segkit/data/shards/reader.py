"""Random access to the samples of many shards, on this disk or elsewhere, through one index for all processes."""

import contextlib
import json
import os
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from threading import Thread
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from segkit.data.files.flat_index import FlatIndex, LazySequence, cached_index
from segkit.data.files.pairs import some
from segkit.data.shards.addresses import LIST, addresses, beside, listed, local_path, protocol_of
from segkit.data.shards.cache import ShardCache
from segkit.data.shards.gather import Shard, gathered, index_of
from segkit.data.shards.index import Keys, ShardIndex, unpacked
from segkit.data.shards.remote import Missing, check_protocol, fetch_bytes
from segkit.data.shards.tar import BLOCK, REMEDY, is_header
from segkit.files import MAX_BYTES as MOST_MEMBER
from segkit.files import DataError, brief, limit, open_regular, parse_json, read_text

MOST_OPEN = 64
"""Shards that a process holds open."""

LIST_BYTES = 64 << 20
"""Bytes of a list of shards, at most."""


class File(NamedTuple):
    """A file of a sample: its name for messages, and its content."""

    name: str
    content: bytes


class Indices(LazySequence[ShardIndex]):
    """The indices of all shards, opened when they are asked for.

    Args:
        records: the packed index of each shard, and one record more.
        names: of the shards, for errors.
    """

    def __init__(self, records: FlatIndex, names: Sequence[str]):
        self._records, self._names = records, names
        self._cache: dict[int, ShardIndex] = {}

    def __len__(self) -> int:
        return len(self._records) - 1

    def __reduce__(self) -> tuple:
        return Indices, (self._records, self._names)

    def item(self, index: int) -> ShardIndex:
        """Opens an index."""
        if index not in self._cache:
            self._cache[index] = unpacked(self._records.view(index), self._names[index])
        return self._cache[index]


class ShardSet:
    """The samples of shards in the order of the shards.

    Args:
        urls: see `addresses`.
        skip_damaged: passes over shards that are missing or damaged, which otherwise are an error.
        cache: of copies of remote shards.

    Attributes:
        about: content of the file shards.json, empty where there is none.
        names: addresses of the shards that are read.
        starts: int64 [shards + 1], number of the first sample of each shard.
        keys: of all samples.
        skipped: a sentence for each shard that is passed over.
        kinds: suffixes of all files.

    Raises:
        DataError: no shard can be read, or one is missing or damaged and not passed over.
    """

    def __init__(self, urls: str | Sequence[str], *, skip_damaged: bool, cache: ShardCache):
        self.cache = cache
        shards, self.about = _shards(addresses(urls))
        for address in {protocol_of(shard.address): shard.address for shard in shards}.values():
            check_protocol(address)
        if not skip_damaged:
            _need_all(shards)
        local = [local_path(shard.address) for shard in shards if not protocol_of(shard.address)]
        self._sources = [path for path in local if path.is_file()]
        self._sources += [path for path in map(index_of, self._sources) if path.is_file()]
        self._identity = json.dumps([skip_damaged, shards])
        self._is_remote = len(local) < len(shards)
        records = self.remembered("shards 1", lambda: gathered(shards, cache, skip_damaged=skip_damaged))
        summary = json.loads(records[-1])
        self.skipped: tuple[str, ...] = tuple(summary["skipped"])
        self._patterns: list[tuple[list[str], int]] = summary["patterns"]
        self.kinds = tuple(dict.fromkeys(kind for there, _ in self._patterns for kind in there))
        self._shards = [shards[number] for number in summary["kept"]]
        self.names = [shard.address for shard in self._shards]
        if not self.names:
            raise DataError(f"{brief(urls)}: no shard can be read; the first: {next(iter(self.skipped), 'none')}")
        self._begins: list[int] = summary["starts"]
        self.starts = np.array(self._begins, np.int64)
        if not len(self):
            raise DataError(f"{brief(urls)}: holds no sample; a sample is KEY.SUFFIX, such as a.jpg and a.png")
        self.indices = Indices(records, self.names)
        stems = [f"{Path(name).stem}/" for name in self.names] if summary["repeats"] else []
        self.keys = Keys(self.starts, self.indices, stems)
        self._cache: dict[int, BinaryIO] = {}
        self._process = os.getpid()

    def __len__(self) -> int:
        return int(self.starts[-1])

    def __getstate__(self) -> dict[str, Any]:
        """Processes that read get no open files."""
        return {**vars(self), "_cache": {}}

    def remembered(self, about: str, make: Callable[[], Iterator[bytes]]) -> FlatIndex:
        """Returns records made from the shards, from the cache of this machine where the shards have not changed.

        Args:
            about: what is made of them.
            make: yields the records.
        """
        return cached_index(self._sources, json.dumps([about, self._identity]), make, keep=self._is_remote)

    def locate(self, index: int) -> tuple[int, int]:
        """Returns the number of a sample's shard, and the sample's row in it."""
        index = range(self._begins[-1])[index]
        number = bisect_right(self._begins, index) - 1
        return number, index - self._begins[number]

    def kind_of(self, index: int, kinds: Sequence[str]) -> str | None:
        """Returns the first of these kinds of files that a sample has, None where it has none."""
        number, row = self.locate(index)
        found = self.indices[number]
        for kind in kinds:
            if kind in found.kinds and found.table[row, found.kinds.index(kind), 0]:
                return kind
        return None

    def count(self, kinds: Sequence[str]) -> int:
        """Counts the samples that have a file of one of these kinds."""
        return sum(number for there, number in self._patterns if not set(there).isdisjoint(kinds))

    def name(self, index: int, kind: str | None) -> str:
        """Returns the name of a file, SHARD/KEY.SUFFIX, for messages."""
        number, row = self.locate(index)
        return f"{self.names[number]}/{self.indices[number].key(row)}{f'.{kind}' if kind else ''}"

    def need(self, index: int, kinds: Sequence[str]) -> File:
        """Reads the first of these kinds of files that a sample has; DataError where it has none."""
        number, row = self.locate(index)
        found = self.indices[number]
        for kind in kinds:
            if kind in found.kinds:
                offset, size = found.place(row, found.kinds.index(kind))
                if offset:
                    return self._content(number, f"{self.names[number]}/{found.key(row)}.{kind}", offset, size)
        wanted = " or ".join(f".{name}" for name in kinds) or "mask"
        raise DataError(f"{self.name(index, None)}: this sample has no {wanted}")

    def read(self, index: int, kind: str) -> File:
        """Reads a file of a sample.

        Args:
            index: the sample.
            kind: suffix of one of its files.

        Raises:
            DataError: names the shard, the file and the byte: the shard is missing, breaks off or is not the one that
                the index was made of.
        """
        return self.need(index, (kind,))

    def _content(self, number: int, name: str, offset: int, size: int) -> File:
        """Reads the bytes of a file from a shard, and checks that its header stands before it."""
        most = limit(MOST_MEMBER)
        if size > most:
            raise DataError(
                f"{name}: {size:,} bytes; at most {most:,} are read; set {MOST_MEMBER[0]} where it is right"
            )
        try:
            content = _read(self._file(number), offset - BLOCK, BLOCK + size)
        except OSError as error:
            raise DataError(f"{name}: cannot be read at byte {offset} ({error.strerror or error})") from error
        if len(content) < BLOCK + size:
            raise DataError(f"{name}: the shard breaks off, {size:,} bytes at byte {offset} are not there; {REMEDY}")
        if not is_header(content[:BLOCK], size):
            raise DataError(
                f"{name}: not at byte {offset}, where the index has it: the shard is damaged or was changed; {REMEDY}"
            )
        return File(name, content[BLOCK:])

    def read_ahead(self, indices: Sequence[int]) -> None:
        """Copies the shards of samples that lie elsewhere in the background; what fails is told by who reads them."""
        numbers = dict.fromkeys(self.locate(index)[0] for index in indices)
        shards = [self._shards[number] for number in numbers if protocol_of(self._shards[number].address)]
        if shards:
            Thread(target=_copy_all, args=(shards, self.cache), daemon=True).start()

    def _file(self, number: int) -> BinaryIO:
        """The open file of a shard; the least recently opened ones are closed beyond MOST_OPEN."""
        if self._process != os.getpid():  # a fork shares positions with the process it comes from
            self._cache, self._process = {}, os.getpid()
        if number not in self._cache:
            shard, found = self._shards[number], self.indices[number]
            for _ in range(3):  # another process may make room between the two lines
                path = self.cache.local(shard.address, found.size, shard.sha256 or found.sha256)
                if path.is_file() or not protocol_of(shard.address):
                    break
            if len(self._cache) >= MOST_OPEN:
                self._cache.pop(next(iter(self._cache))).close()
            self._cache[number] = open_regular(path)
        return self._cache[number]


def _copy_all(shards: Sequence[Shard], cache: ShardCache) -> None:
    with contextlib.suppress(DataError):
        for shard in shards:
            cache.local(shard.address, shard.size, shard.sha256)


def _read(file: BinaryIO, offset: int, size: int) -> bytes:
    if hasattr(os, "pread"):
        return os.pread(file.fileno(), size, offset)
    file.seek(offset)
    return file.read(size)


def _shards(found: Sequence[str]) -> tuple[list[Shard], dict[str, Any]]:
    """The shards of addresses, lists among them, and what the list says; a list beside the first shard counts, too."""
    shards: list[Shard] = []
    about: dict[str, Any] = {}
    for address in found:
        if address.lower().endswith(".json"):
            content = _list(address)
            shards += _of_list(content, address)
            about = about or (content if isinstance(content, dict) else {})
        else:
            shards.append(Shard(address))
    if about or any(address.lower().endswith(".json") for address in found):
        return shards, about
    content = _list_beside(shards[0].address)
    if isinstance(content, dict):
        stated = {shard.address: shard for shard in _of_list(content, beside(shards[0].address, LIST))}
        return [stated.get(shard.address, shard) for shard in shards], content
    return shards, {}


def _list(address: str) -> Any:
    check_protocol(address)
    if protocol_of(address):
        return parse_json(fetch_bytes(address, LIST_BYTES), address)
    return parse_json(read_text(local_path(address)), address)


def _list_beside(address: str) -> Any:
    """The list in the folder of a shard, None where there is none."""
    place = beside(address, LIST)
    if not protocol_of(address):
        return _list(place) if local_path(place).is_file() else None
    try:
        return _list(place)
    except Missing:
        return None


def _of_list(content: Any, source: str) -> list[Shard]:
    rows = content["shards"] if isinstance(content, dict) and isinstance(content.get("shards"), list) else []
    stated = {row["file"]: row for row in rows if isinstance(row, dict) and isinstance(row.get("file"), str)}
    shards = []
    for address in listed(content, source):
        row = stated.get(address.rpartition("/")[2], {})
        size, sha256 = row.get("bytes"), row.get("sha256")
        shards.append(
            Shard(address, size if isinstance(size, int) else None, sha256 if isinstance(sha256, str) else "")
        )
    return shards


def _need_all(shards: Sequence[Shard]) -> None:
    """DataError that names the shards which this machine should have and has not."""
    paths = [str(local_path(shard.address)) for shard in shards if not protocol_of(shard.address)]
    missing = [path for path in paths if not os.path.isfile(path)]
    if missing:
        raise DataError(
            f"{len(missing)} of {len(shards)} shards are missing: {some(missing, 3)}; copy them there, correct urls, "
            "or set skip_damaged=True to pass over them"
        )
