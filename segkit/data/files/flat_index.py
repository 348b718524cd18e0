"""An index of many records in two flat arrays, so that a million records cost their bytes alone, once per machine.

Large ones lie in a file that every process maps.
"""

import hashlib
import json
import os
import sys
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, TypeVar, overload

import numpy as np

from segkit.files import DataError, whole_file

END = b"segkit index 1\n\0"
"""Last 16 bytes of an index file, written last of all."""

SMALL = 8 << 20
"""An index made from source files of fewer bytes stays in memory and writes no file."""


Item = TypeVar("Item", covariant=True)


class LazySequence(Sequence[Item]):
    """A sequence whose items are made when they are read; a subclass gives `item` and `__len__`."""

    def item(self, index: int) -> Item:
        """Makes an item.

        Args:
            index: its position, negative from the end.

        Raises:
            IndexError: there is no such position.
        """
        raise NotImplementedError(f"{type(self).__name__} gives no item()")

    @overload
    def __getitem__(self, index: int) -> Item: ...

    @overload
    def __getitem__(self, index: slice) -> list[Item]: ...

    def __getitem__(self, index: int | slice) -> Item | list[Item]:
        if isinstance(index, slice):
            return [self.item(number) for number in range(*index.indices(len(self)))]
        return self.item(index)


class FlatIndex(LazySequence[bytes]):
    """A sequence of n records of bytes.

    It is pickled as the path of its file, so that spawned workers map the file too.

    Args:
        offsets: int64 [n+1], where each record begins in `blob`, and its end.
        blob: uint8 [bytes], the records one after the other.
        path: the file that both are mapped from; None for arrays in memory.
    """

    def __init__(self, offsets: np.ndarray, blob: np.ndarray, path: str | None = None):
        self._offsets, self._blob, self._path = offsets, blob, path

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def item(self, index: int) -> bytes:
        """Reads a record."""
        number = range(len(self))[index]
        return self._blob[self._offsets[number] : self._offsets[number + 1]].tobytes()

    def view(self, index: int) -> np.ndarray:
        """Returns a record as uint8 without a copy."""
        number = range(len(self))[index]
        return self._blob[self._offsets[number] : self._offsets[number + 1]]

    def __reduce__(self) -> tuple[Callable[..., "FlatIndex"], tuple]:
        return (FlatIndex, (self._offsets, self._blob)) if self._path is None else (open_index, (self._path,))


def in_memory(records: Iterable[bytes]) -> FlatIndex:
    """Returns an index of a few records, in memory."""
    stored = list(records)
    offsets = np.cumsum([0, *map(len, stored)], dtype=np.int64)
    return FlatIndex(offsets, np.frombuffer(b"".join(stored), np.uint8))


def open_index(path: str | Path) -> FlatIndex:
    """Maps an index file.

    Args:
        path: the file.

    Raises:
        ValueError: where the file is incomplete or no index.
    """
    content = np.memmap(path, np.uint8, "r")
    tail = content[-24:].tobytes()
    count = int.from_bytes(tail[:8], "little")
    size = 8 * (count + 1)
    if tail[8:] != END or len(content) < size + 24:
        raise ValueError(f"{path}: no whole index")
    offsets = np.frombuffer(content, np.int64, count + 1, len(content) - 24 - size)
    return FlatIndex(offsets, content, str(path))


def write_index(path: Path, records: Iterable[bytes]) -> None:
    """Writes records as they come; the file is whole or absent.

    Args:
        path: the file.
        records: its content, in order.

    Raises:
        DataError: where the file cannot be written.
    """
    offsets = array("q", [0])
    with whole_file(path, "set SEGKIT_CACHE to another folder") as draft, open(draft, "wb") as file:
        for record in records:
            file.write(record)
            offsets.append(offsets[-1] + len(record))
        file.write(b"\0" * (-offsets[-1] % 8))  # int64 values begin at multiples of 8
        file.write(offsets.tobytes())
        file.write((len(offsets) - 1).to_bytes(8, "little") + END)


def index_folder() -> Path:
    """Returns $SEGKIT_CACHE/index, or work_dirs/index where the variable is not set."""
    return Path(os.environ.get("SEGKIT_CACHE", "work_dirs")).expanduser() / "index"


def cached_index(
    sources: Sequence[Path], about: str, make: Callable[[], Iterator[bytes]], *, keep: bool = False
) -> FlatIndex:
    """Returns the index of records made from files, from the cache where these have not changed.

    Small sources are read anew each time. Large ones are read once by a separate process, which gives its memory back
    at its end, and then mapped from a file named after the sources' paths, sizes and times, and `about`. Processes that
    start together wait for the first one.

    Args:
        sources: the files the records come from.
        about: what is made of them, with its options.
        make: reads the sources and yields the records.
        keep: writes a file in any case, because `make` reads more than the sources.

    Raises:
        DataError: where a source is missing, or the cache cannot be written.
    """
    stats: list[tuple[str, int, int]] = []
    for source in sources:
        try:
            stats.append((str(Path(source).resolve()), os.stat(source).st_size, os.stat(source).st_mtime_ns))
        except OSError as error:
            raise DataError(f"{source}: {error.strerror}; check root and split") from error
    if not keep and sum(size for _, size, _ in stats) < SMALL:
        return in_memory(make())
    name = hashlib.sha256(json.dumps([about, stats]).encode()).hexdigest()[:20]
    path = index_folder() / f"{name}.index"
    opened = _opened(path)
    return _made(path, make) if opened is None else opened


def _opened(path: Path) -> FlatIndex | None:
    try:
        return open_index(path)
    except (OSError, ValueError):
        return None


def _made(path: Path, make: Callable[[], Iterator[bytes]]) -> FlatIndex:
    """Writes and opens the index; one process writes while the others wait for the lock."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = open(path.with_suffix(".lock"), "w", encoding="utf-8")  # noqa: SIM115
    except OSError as error:
        raise DataError(f"{path}: cannot be written ({error.strerror}); set SEGKIT_CACHE to another folder") from error
    with lock:
        wait_for(lock)
        if (opened := _opened(path)) is not None:
            return opened
        message = (_in_a_process if FORKS else _in_this_process)(lambda: write_index(path, make()))
        if message:
            raise DataError(message)
        return open_index(path)


FORKS = sys.platform == "linux"
"""Whether a job may run in a fork: Windows has none, and on macOS the system's libraries break in one."""


def wait_for(lock: IO[str]) -> None:
    """Waits until this process holds the lock; on Windows, which has no such lock, several may write the same file."""
    if sys.platform != "win32":
        import fcntl

        fcntl.flock(lock, fcntl.LOCK_EX)


def _in_this_process(job: Callable[[], None]) -> str:
    """Runs job. Returns the message of its error, "" without one."""
    try:
        job()
    except DataError as error:
        return str(error)
    return ""


def _in_a_process(job: Callable[[], None]) -> str:
    """Runs job in a fork, which gives its memory back at its end. Returns the message of its error, "" without one."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        text = ""
        try:
            job()
        except BaseException as error:  # the message is all that can leave this process
            text = str(error) if isinstance(error, DataError) else f"{type(error).__name__}: {error}"
        os.write(write, text.encode()[:60_000])
        os._exit(0 if not text else 1)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        text = pipe.read().decode(errors="replace")
    _, status = os.waitpid(child, 0)
    return text or ("" if status == 0 else f"the process that reads the annotations was ended (status {status})")
