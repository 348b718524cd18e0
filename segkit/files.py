"""Files in and out: what is refused before a reader sees a file, and atomic writing.

The policy for files that somebody else made, which every reader passes through: only regular files are opened, never
blocking; their size, pixels and values are bounded; names inside of a file stay inside of their folder; configs out of
files name registered classes alone (foreign_code); and error messages never repeat a whole file. Readers of single
formats are built on it: segkit/readers (torch, safetensors, pickle, .npy, .mat), segkit/data/files (pictures).
"""

import contextlib
import errno
import hashlib
import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

MAX_PIXELS = ("SEGKIT_MAX_PIXELS", 1 << 28)
"""Variable and default: pixels (height x width) of a picture, 16,384 x 16,384: 800 MB in RGB."""

MAX_BYTES = ("SEGKIT_MAX_BYTES", 2 << 30)
"""Variable and default: bytes of a file that is read into memory as a whole. LVIS, 1.1 GB of JSON, is below it."""

CONFIG_BYTES = 8 << 20
"""Bytes of a config file."""

TEXT_BYTES = 64 << 20
"""Bytes of a list or another text file."""

MESSAGE = 2000
"""Characters of an error message at most."""

KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def shortened(value: object, most: int = MESSAGE) -> str:
    """Returns the text of a value, its middle left out where it is longer than `most` characters."""
    text = str(value)
    return text if len(text) <= most else f"{text[: most // 2]} ... {text[-most // 4 :]}"


def brief(value: object) -> str:
    """Returns the representation of a value in at most about 100 characters, for messages."""
    return shortened(repr(value), 100)


class DataError(ValueError):
    """A file cannot be read, written or used. The message names the file and says what to do."""

    def __str__(self) -> str:
        return shortened(super().__str__())


def limit(setting: tuple[str, int]) -> int:
    """Returns a limit: the environment variable where it is set, else the default.

    Args:
        setting: MAX_PIXELS or MAX_BYTES.

    Raises:
        DataError: the variable is no whole number above 0.
    """
    name, default = setting
    text = os.environ.get(name, "")
    if not text:
        return default
    if not text.isdecimal() or not int(text[:20]):
        raise DataError(f"{name}={shortened(text, 40)}: must be a whole number above 0")
    return int(text[:20])


def open_regular(path: str | Path, error_type: type[Exception] = DataError) -> BinaryIO:
    """Opens a file for reading; a FIFO, device, socket or folder is refused without opening it.

    Args:
        path: the file, or a link to it.
        error_type: class of the error.

    Returns:
        The open file, in binary mode.

    Raises:
        error_type: it is missing, cannot be opened, or is no regular file.
    """
    try:
        _need_regular(path, os.stat(path).st_mode, error_type)
        # not blocking, because the file may have become a FIFO since
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
        file = os.fdopen(descriptor, "rb")
    except OSError as error:
        raise error_type(f"{path}: {error.strerror or error}; check the path and its rights") from error
    except ValueError as error:
        if isinstance(error, error_type):
            raise
        raise error_type(f"{shortened(repr(str(path)), 200)}: no possible path ({error})") from error
    try:
        _need_regular(path, os.fstat(descriptor).st_mode, error_type)
    except error_type:
        file.close()
        raise
    return file


def digest(path: str | Path) -> str:
    """Returns the SHA-256 of a file's bytes in hexadecimal, "" where there is no such file."""
    if not Path(path).is_file():
        return ""
    found = hashlib.sha256()
    with open_regular(path) as file:
        while chunk := file.read(1 << 20):
            found.update(chunk)
    return found.hexdigest()


def _need_regular(path: str | Path, mode: int, error_type: type[Exception]) -> None:
    if not stat.S_ISREG(mode):
        kind = next((name for is_kind, name in KINDS if is_kind(mode)), "no regular file")
        raise error_type(f"{path}: is {kind}; give a regular file")


def read_bytes(path: str | Path, most: int | None = None, error_type: type[Exception] = DataError) -> bytes:
    """Returns the content of a file.

    Args:
        path: the file.
        most: bytes at most; None for the limit SEGKIT_MAX_BYTES.
        error_type: class of the error.

    Raises:
        error_type: it is missing, unreadable, empty, too large or no regular file.
    """
    with open_regular(path, error_type) as file:
        return read_open(file, path, most, error_type)


def read_open(
    file: BinaryIO, path: str | Path, most: int | None = None, error_type: type[Exception] = DataError
) -> bytes:
    """Returns the rest of a file of open_regular; see read_bytes."""
    most, advice = (limit(MAX_BYTES), f"; set {MAX_BYTES[0]} where it is right") if most is None else (most, "")
    try:
        size = os.fstat(file.fileno()).st_size
        content = b"" if size > most else file.read(most + 1)
    except (OSError, MemoryError) as error:
        raise error_type(f"{path}: cannot be read ({getattr(error, 'strerror', None) or 'out of memory'})") from error
    if max(size, len(content)) > most:
        raise error_type(f"{path}: {max(size, len(content)):,} bytes; at most {most:,} are read{advice}")
    if not content:
        raise error_type(f"{path}: the file is empty (0 bytes); restore it, or take it out of the data set")
    return content


def read_text(path: str | Path, most: int = TEXT_BYTES, error_type: type[Exception] = DataError) -> str:
    """Returns the content of a text file in UTF-8, "" where it is empty.

    Args:
        path: the file.
        most: bytes at most.
        error_type: class of the error.

    Raises:
        error_type: it is missing, unreadable, too large, no regular file or no text.
    """
    with open_regular(path, error_type) as file:
        content = read_open(file, path, most, error_type) if os.fstat(file.fileno()).st_size else b""
    if b"\0" in content:
        raise error_type(f"{path}: no text in UTF-8 (it holds zero bytes, as UTF-16 does); save it as UTF-8")
    try:
        return content.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise error_type(f"{path}: no text in UTF-8 (byte {error.start}); save it as UTF-8") from error


def parse_json(content: str | bytes, source: str | Path, error_type: type[Exception] = DataError) -> Any:
    """Returns the value of a JSON text.

    Args:
        content: the text.
        source: file, for the error.
        error_type: class of the error.

    Raises:
        error_type: it is no JSON, a key stands twice in one object, or lists in lists go too deep.
    """
    try:
        return json.loads(content, object_pairs_hook=_once)
    except RecursionError as error:
        raise error_type(f"{source}: no valid JSON (nested too deeply); copy the file again") from error
    except MemoryError as error:
        raise error_type(f"{source}: this JSON needs more memory than there is") from error
    except ValueError as error:
        raise error_type(f"{source}: no valid JSON ({shortened(error, 200)}); copy the file again") from error


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The object of its pairs; a key that stands twice leaves open which value counts."""
    values = dict(pairs)
    if len(values) != len(pairs):
        names = [name for name, _ in pairs]
        double = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key '{double}' stands twice in one object")
    return values


def inside(folder: str | Path, name: object, source: str | Path, remedy: str = "correct the file") -> str:
    """Checks a path that a file names, before it is joined to a folder.

    Args:
        folder: the folder that it is relative to.
        name: the path in the file.
        source: the file that names it, for the error.
        remedy: end of the error's sentence.

    Returns:
        The path.

    Raises:
        DataError: it is no text, or absolute, or leads out of the folder by "..".
    """
    if not isinstance(name, str) or not name or "\0" in name:
        raise DataError(f"{source}: names the file {shortened(repr(name), 100)}; must be a path as text")
    parts = name.replace("\\", "/").split("/") if "\\" in name else name.split("/")
    if not parts[0] or ".." in parts or (len(parts[0]) == 2 and parts[0][1] == ":"):
        raise DataError(f"{source}: names the file {shortened(repr(name), 200)}, outside of {folder}; {remedy}")
    return name


MAX_VALUES = 100_000
"""Values of a config out of a file at most, each key, text and number counted."""

MAX_DEPTH = 50
"""Most levels of a config out of a file, and of a YAML file."""

MAX_LETTERS = 4 << 20
"""Letters in all texts of a config out of a file at most."""


def check_plain(value: Any, source: str, error_type: type[Exception] = DataError) -> None:
    """Checks that a value out of a file consists of a bounded number of dicts, lists, texts and numbers.

    What is shared by references or aliases counts as often as it occurs: copies of it would be as many.

    Args:
        value: anything.
        source: file and key, for the error.
        error_type: class of the error.

    Raises:
        error_type: it holds another type, or is too large or too deep.
    """
    values = letters = 0
    waiting: list[tuple[Any, int]] = [(value, 0)]
    while waiting:
        item, depth = waiting.pop()
        values += 1
        if isinstance(item, str):
            letters += len(item)
        if values > MAX_VALUES or letters > MAX_LETTERS or depth > MAX_DEPTH:
            raise error_type(
                f"{source}: holds more than {MAX_VALUES:,} values, {MAX_LETTERS:,} letters or {MAX_DEPTH} levels "
                "(aliases count as often as they occur); this is no config"
            )
        if isinstance(item, dict):
            for key, inner in item.items():
                waiting.append((key, depth + 1))
                waiting.append((inner, depth + 1))
                if len(waiting) > MAX_VALUES:
                    break
        elif isinstance(item, list | tuple):
            waiting += [(inner, depth + 1) for inner in item[: MAX_VALUES + 1]]
        elif not isinstance(item, str | int | float | bool | None):
            raise error_type(f"{source}: holds a {type(item).__name__}; allowed are dicts, lists, texts and numbers")


def foreign_code(value: Any, at: str = "") -> tuple[str, str] | None:
    """Finds what a config names outside of segkit's registries, which would be imported and called.

    That is a "package.module:name" as `type` or `pretrained` at any depth, any text with ":" in a model (encoders are
    also named by "hub:name"), and anything that can be called.

    Args:
        value: the config, or a value in it, after check_plain.
        at: its path in the config.

    Returns:
        Config path and value of the first such name; None where there is none.
    """
    children: Any = ()
    if isinstance(value, dict):
        children = value.items()
    elif isinstance(value, list | tuple):
        children = enumerate(value)
    elif callable(value):
        return at, shortened(repr(value), 100)
    elif isinstance(value, str) and ":" in value:
        sections = at.split(".")
        if sections[-1] in ("type", "pretrained") or sections[0] == "model":
            return at, value
    for key, inner in children:
        found = foreign_code(inner, f"{at}.{key}" if at else str(key))
        if found is not None:
            return found
    return None


@contextlib.contextmanager
def whole_file(
    path: str | Path, remedy: str = "choose another folder", error_type: type[Exception] = DataError
) -> Iterator[Path]:
    """Context manager that writes a file atomically: the block writes a draft, which is renamed when the block ends.

    Args:
        path: the file; missing folders are created.
        remedy: what the user can do when the file cannot be written; the error message ends with it.
        error_type: class of that error.

    Yields:
        Path of the draft, in the same folder under a hidden name. It is removed in any case. Where the block fails, an
        older file at `path` does not change.

    Raises:
        error_type: in place of an OSError, with path, reason and remedy.
    """
    path = Path(path)
    draft = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield draft
        os.replace(draft, path)
    except OSError as error:
        raise error_type(f"{path}: cannot be written ({error.strerror or error}); {remedy}") from error
    finally:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)


def need_writable(path: str | Path, remedy: str = "choose another file") -> None:
    """Checks that a file can be written, before the work whose result it takes. Nothing is left behind.

    Args:
        path: the file.
        remedy: end of the error's sentence.

    Raises:
        DataError: it is a folder, or no file can be created beside it.
    """
    path = Path(path)
    draft = path.with_name(f".{path.name}.{os.getpid()}.part")
    missing: list[Path] = []
    try:
        missing = [folder for folder in path.parents if not folder.exists()]
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        path.parent.mkdir(parents=True, exist_ok=True)
        draft.touch()
    except OSError as error:
        reason = "a part of this path is a file" if isinstance(error, FileExistsError) else error.strerror or error
        raise DataError(f"{path}: cannot be written ({reason}); {remedy}") from error
    finally:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)
            for folder in missing:
                folder.rmdir()


def write_whole(
    path: str | Path,
    content: bytes | str,
    remedy: str = "choose another folder",
    error_type: type[Exception] = DataError,
) -> Path:
    """Writes a file atomically, see whole_file.

    Args:
        path: the file; missing folders are created.
        content: bytes, or text that is written as UTF-8.
        remedy, error_type: see whole_file.

    Returns:
        The path.

    Raises:
        error_type: in place of an OSError, with path, reason and remedy.
    """
    with whole_file(path, remedy, error_type) as draft:
        draft.write_bytes(content.encode() if isinstance(content, str) else content)
    return Path(path)
