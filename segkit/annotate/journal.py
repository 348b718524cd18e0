"""The journal of an image: what was done to it, one line for each edit, on the disk before the edit is answered.

A line is the CRC-32 of its JSON in 8 hexadecimal digits, a space, and the JSON. A last line that was cut, by a process
that was killed or a disk that was full, is passed over, and removed before the next one is written.
"""

import json
import os
import zlib
from pathlib import Path
from typing import Any, NamedTuple

from segkit.files import DataError, open_regular, parse_json, read_open

MOST_BYTES = 4 << 30
"""Of a journal."""

TAIL = 1 << 16
"""Bytes in which the last line is searched first."""


class Lines(NamedTuple):
    """The records of a journal, and the bytes that they take of the file."""

    records: list[dict[str, Any]]
    length: int


def line_of(record: dict[str, Any]) -> bytes:
    """Returns a record as a line of a journal."""
    text = json.dumps(record, separators=(",", ":"), allow_nan=False).encode()
    return b"%08x %s\n" % (zlib.crc32(text), text)


def _record(line: bytes) -> bytes | None:
    """The JSON of a line without its end; None of a damaged one."""
    try:
        is_whole = line[8:9] == b" " and int(line[:8], 16) == zlib.crc32(line[9:])
    except ValueError:
        is_whole = False
    return line[9:] if is_whole else None


def read_journal(path: Path) -> Lines:
    """Reads a journal.

    Args:
        path: the file; one that is not there is empty.

    Raises:
        DataError: it cannot be read, or a line other than the last is damaged.
    """
    if not path.exists():
        return Lines([], 0)
    with open_regular(path) as file:
        content = read_open(file, path, MOST_BYTES) if os.fstat(file.fileno()).st_size else b""
    records: list[dict[str, Any]] = []
    length = 0
    lines = content.split(b"\n")
    for number, line in enumerate(lines[:-1], 1):  # after the last end of a line there is nothing, or a cut line
        text = _record(line)
        if text is None:
            if number == len(lines) - 1:
                break  # written by a disk that lost a part of it
            raise DataError(
                f"{path}, line {number}: damaged; restore the file from a copy, or remove it to annotate the image anew"
            )
        record = parse_json(text, f"{path}, line {number}")
        if not isinstance(record, dict):
            raise DataError(f"{path}, line {number}: no record; remove the file to annotate the image anew")
        records.append(record)
        length += len(line) + 1
    return Lines(records, length)


def last_record(path: Path) -> dict[str, Any] | None:
    """Returns the last whole record of a journal, of which the end alone is read; None of an empty one.

    Raises:
        DataError: the file cannot be read.
    """
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        length = TAIL
        while True:
            begin = max(0, size - length)
            file.seek(begin)
            lines = file.read(size - begin).split(b"\n")
            for line in reversed(lines[0 if begin == 0 else 1 : -1]):
                text = _record(line)
                if text is not None:
                    record = parse_json(text, path)
                    return record if isinstance(record, dict) else None
            if begin == 0:
                return None
            length *= 8


def whole_of(record: dict[str, Any], name: str, default: int = 0) -> int:
    """Returns a whole number of a record, the default where it has none; who opens the image tells what is wrong."""
    value = record.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) else default


class Journal:
    """Appends to the journal of an image.

    Args:
        path: the file, which is made at the first record.
        length: bytes of its whole records, see read_journal; what follows them is cut off.
    """

    def __init__(self, path: Path, length: int = 0):
        self.path, self._length = path, length

    def append(self, *records: dict[str, Any]) -> None:
        """Writes records, and returns when the disk has them.

        Raises:
            DataError: they cannot be written; the file is as before.
        """
        content = b"".join(line_of(record) for record in records)
        try:
            is_new = not self.path.exists()
            self.path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o644)
            try:
                self._write(descriptor, content)
            finally:
                os.close(descriptor)
            if is_new:
                _sync_folder(self.path.parent)
        except OSError as error:
            raise DataError(
                f"{self.path}: cannot be written ({error.strerror or error}); the edit is not made; free space or "
                "check the folder's rights"
            ) from error
        self._length += len(content)

    def _write(self, descriptor: int, content: bytes) -> None:
        try:
            os.ftruncate(descriptor, self._length)
            os.lseek(descriptor, self._length, os.SEEK_SET)
            rest = memoryview(content)
            while rest:
                rest = rest[os.write(descriptor, rest) :]
            os.fsync(descriptor)
        except OSError:
            os.ftruncate(descriptor, self._length)
            raise


def _sync_folder(folder: Path) -> None:
    """Has the disk remember a new file's name; systems without it need none."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(descriptor)
    except OSError:
        pass
    finally:
        os.close(descriptor)
