"""Atomic writing of files: whatever happens, a file is whole or absent."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


class DataError(ValueError):
    """A file cannot be read, written or used. The message names the file and says what to do."""


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
