"""Fetching files from anywhere: http and https by the standard library, all else by fsspec (s3, gs, hf, memory ...)."""

import contextlib
import hashlib
import http.client
import importlib
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib import error as url_errors
from urllib import request

from segkit.data.shards.addresses import protocol_of
from segkit.files import DataError, shortened

TRIES = 5
"""Attempts to fetch a file."""

PAUSE = 1.0
"""Seconds before the second attempt; each further pause is twice as long."""

SECONDS = 60.0
"""That a server may be silent."""

PIECE = 1 << 20
PASSING = (408, 425, 429, 500, 502, 503, 504)
"""Answers of a web server that another attempt may change."""

FINAL = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError)


class Fetched(NamedTuple):
    """What came: its bytes, and their SHA-256 in hexadecimal digits."""

    size: int
    sha256: str


class Missing(DataError):
    """There is no such file, or it may not be read; another attempt would not help."""


def check_protocol(address: str) -> None:
    """Checks that this machine has the package that an address needs.

    Raises:
        DataError: with the command that installs it.
    """
    protocol = protocol_of(address)
    if protocol in ("", "http", "https"):
        return
    fsspec = _fsspec(address)
    try:
        fsspec.get_filesystem_class(protocol)
    except ImportError as error:
        known = importlib.import_module("fsspec.registry").known_implementations.get(protocol, {})
        package = str(known.get("class", "")).partition(".")[0].replace("_", "-")
        raise DataError(
            f"{address}: {protocol}:// needs a package that is not installed; pip install {package}"
        ) from error
    except ValueError as error:
        raise DataError(f"{address}: {protocol}:// is no kind of address that fsspec knows; check it") from error


def _fsspec(address: str) -> Any:
    try:
        return importlib.import_module("fsspec")
    except ImportError as error:
        raise DataError(f'{address}: needs fsspec, which is not installed; pip install "segkit[stream]"') from error


def fetch(address: str, target: Path) -> Fetched:
    """Fetches a file.

    Args:
        address: where it lies.
        target: of its content; what is there is overwritten.

    Raises:
        Missing: there is none.
        DataError: it cannot be fetched in TRIES attempts; names the last reason.
        OSError: `target` cannot be written.
    """
    check_protocol(address)
    for attempt in range(TRIES):
        if attempt:
            time.sleep(PAUSE * 2 ** (attempt - 1))
        with open(target, "wb") as file:
            digest, size = hashlib.sha256(), 0
            try:
                for piece in _pieces(address):
                    file.write(piece)
                    digest.update(piece)
                    size += len(piece)
                return Fetched(size, digest.hexdigest())
            except _Broken as broken:
                reason = str(broken)
    raise DataError(f"{address}: cannot be fetched in {TRIES} attempts ({reason}); check the network, and start again")


def fetch_bytes(address: str, most: int) -> bytes:
    """Returns the content of a small file.

    Args:
        address: where it lies.
        most: bytes at most.

    Raises:
        Missing: there is none.
        DataError: it cannot be fetched, or is larger.
    """
    check_protocol(address)
    for attempt in range(TRIES):
        if attempt:
            time.sleep(PAUSE * 2 ** (attempt - 1))
        content = bytearray()
        try:
            for piece in _pieces(address):
                content += piece
                if len(content) > most:
                    raise DataError(f"{address}: more than {most:,} bytes; this is no list or index of shards")
            return bytes(content)
        except _Broken as broken:
            reason = str(broken)
    raise DataError(f"{address}: cannot be fetched in {TRIES} attempts ({reason}); check the network, and start again")


class _Broken(Exception):
    """An attempt failed, and the next may not."""


def _pieces(address: str) -> Iterator[bytes]:
    """The content of a file, piece by piece; _Broken or Missing where it does not come."""
    reader = _from_web if protocol_of(address) in ("http", "https") else _from_fsspec
    with contextlib.closing(reader(address)) as pieces:
        yield from pieces


def _from_web(address: str) -> Generator[bytes, None, None]:
    size = 0
    try:
        with request.urlopen(address, timeout=SECONDS) as answer:
            stated = answer.headers.get("Content-Length")
            while piece := answer.read(PIECE):
                size += len(piece)
                yield piece
    except url_errors.HTTPError as error:
        text = f"HTTP {error.code} {error.reason}"
        if error.code in PASSING:
            raise _Broken(text) from error
        raise Missing(f"{address}: {text}; check the address and its rights") from error
    except (OSError, http.client.HTTPException) as error:
        raise _Broken(shortened(getattr(error, "reason", error), 200)) from error
    except ValueError as error:
        raise Missing(f"{address}: no address of the web ({shortened(error, 200)})") from error
    if stated is not None and stated.isdecimal() and int(stated) != size:
        raise _Broken(f"{size:,} of {int(stated):,} bytes came")


def _from_fsspec(address: str) -> Generator[bytes, None, None]:
    try:
        with _fsspec(address).open(address, "rb") as file:
            while piece := file.read(PIECE):
                yield piece
    except FINAL as error:
        raise Missing(f"{address}: {type(error).__name__}; check the address and its rights") from error
    except (GeneratorExit, DataError):
        raise
    except Exception as error:  # each file system has errors of its own
        raise _Broken(f"{type(error).__name__}: {shortened(error, 200)}") from error
