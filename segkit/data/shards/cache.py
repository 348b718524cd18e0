"""Copies of remote shards on this machine: whole or absent, shared by all processes; the oldest make room."""

import contextlib
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from segkit.data.files.flat_index import wait_for
from segkit.data.shards.addresses import local_path, protocol_of
from segkit.data.shards.remote import fetch
from segkit.files import DataError

GB = 10**9


def shard_folder() -> Path:
    """Returns $SEGKIT_CACHE/shards, or work_dirs/shards where the variable is not set."""
    return Path(os.environ.get("SEGKIT_CACHE", "work_dirs")).expanduser() / "shards"


class ShardCache:
    """A folder of copies of remote shards.

    A copy is made under another name and renamed, and its checksum is compared before; a process that is killed leaves
    none. Processes that want one shard wait for the first of them. Where the copies are larger than the limit, those go
    that were not opened for the longest time; who reads one at that moment reads on.

    Args:
        folder: of the copies; None for $SEGKIT_CACHE/shards.
        gigabytes: of all copies at most, of 10^9 bytes; None for no limit.
    """

    def __init__(self, folder: str | None = None, gigabytes: float | None = None):
        self.folder = Path(folder).expanduser() if folder else None
        self.most = None if gigabytes is None else round(gigabytes * GB)

    def place(self, address: str) -> Path:
        """Returns where the copy of a shard lies or will lie."""
        name = hashlib.sha256(address.encode(errors="surrogateescape")).hexdigest()[:20]
        return (shard_folder() if self.folder is None else self.folder) / f"{name}.tar"

    def local(self, address: str, size: int | None = None, sha256: str = "") -> Path:
        """Returns a file of this machine with the content of a shard, which is fetched where it is not there.

        Args:
            address: of the shard; a file of this machine is returned as it is.
            size: bytes that it must have; None for any.
            sha256: that it must have; "" for any.

        Raises:
            DataError: it cannot be fetched, has another size or checksum, is larger than the limit, or the cache cannot
                be written.
        """
        if not protocol_of(address):
            return local_path(address)
        path = self.place(address)
        if self._is_there(path):
            return path
        if self.most is not None and (size or 0) > self.most:
            raise self._too_large(address, size or 0)
        with self._locked(path.with_suffix(".lock")):
            if self._is_there(path):  # by the process that held the lock
                return path
            for part in path.parent.glob(f".{path.name}.*.part"):  # of a process that was killed
                part.unlink(missing_ok=True)
            self._make_room(size or 0, path)
            draft = path.with_name(f".{path.name}.{os.getpid()}.part")
            try:
                found = fetch(address, draft)
                if (size is not None and found.size != size) or (sha256 and found.sha256 != sha256):
                    what = "checksum" if found.size == size else f"size ({found.size:,} of {size:,} bytes)"
                    raise DataError(f"{address}: came with another {what} than its index states; write the shard again")
                if self.most is not None and found.size > self.most:
                    raise self._too_large(address, found.size)
                os.replace(draft, path)
            except OSError as error:
                raise self._unwritable(error) from error
            finally:
                with contextlib.suppress(OSError):
                    draft.unlink(missing_ok=True)
            self._make_room(0, path)
        return path

    def _is_there(self, path: Path) -> bool:
        try:
            os.utime(path)  # its time is that of its last use
        except OSError:
            return path.is_file()
        return True

    def _make_room(self, size: int, kept: Path) -> None:
        """Removes copies, the least recently used first, until `size` bytes more are within the limit."""
        if self.most is None:
            return
        with self._locked(kept.parent / "room.lock"):
            copies = []
            for path in kept.parent.glob("*.tar"):
                with contextlib.suppress(OSError):
                    stat = path.stat()
                    copies.append((stat.st_mtime_ns, stat.st_size, path))
            total = sum(bytes_ for _, bytes_, _ in copies)
            for _, bytes_, path in sorted(copies):
                if total + size <= self.most:
                    break
                if path != kept:
                    with contextlib.suppress(OSError):  # Windows keeps a file that somebody reads
                        path.unlink()
                        total -= bytes_

    @contextlib.contextmanager
    def _locked(self, path: Path) -> Iterator[None]:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = open(path, "w", encoding="utf-8")  # noqa: SIM115
        except OSError as error:
            raise self._unwritable(error) from error
        with lock:
            wait_for(lock)
            yield

    def _unwritable(self, error: OSError) -> DataError:
        folder = self.place("").parent
        return DataError(
            f"{folder}: copies of shards cannot be written ({error.strerror or error}); free space, set cache_gb, or "
            "set cache to another folder"
        )

    def _too_large(self, address: str, size: int) -> DataError:
        return DataError(
            f"{address}: {size:,} bytes, and cache_gb = {(self.most or 0) / GB:g} in all; set cache_gb to several "
            "times a shard's size"
        )
