"""Files that are whole or absent: the one way in which segkit writes them."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


class DataError(ValueError):
    """A file that cannot be read, written or used. The message names the file and the way out."""


@contextlib.contextmanager
def whole_file(
    path: str | Path, remedy: str = "choose another folder", error_type: type[Exception] = DataError
) -> Iterator[Path]:
    """Writes a file so that it is whole or absent: the block writes a draft, which is renamed at its end.

    Args:
        path: the file; its folders are made.
        remedy: what to do where it cannot be written, the end of the error's sentence.
        error_type: class of that error.

    Yields:
        The draft, in the same folder under a hidden name. It is gone afterwards, whatever happens, and an older file of
        the name `path` stays as it is where the block fails.

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
    """Writes bytes, or text as UTF-8, by whole_file, whose arguments it takes. Returns the path."""
    with whole_file(path, remedy, error_type) as draft:
        draft.write_bytes(content.encode() if isinstance(content, str) else content)
    return Path(path)
