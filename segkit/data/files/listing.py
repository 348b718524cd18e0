"""The files of a folder and all below it, found in one pass; those of large folders are remembered for the next start.

A list is taken from the cache of this machine where no folder below has changed: adding, removing or renaming a file or
folder changes the time of the folder that holds it.
"""

import contextlib
import hashlib
import json
import os
import time
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, TextIO

from segkit.data.files.flat_index import index_folder, open_index, wait_for, write_index
from segkit.files import DataError

REMEMBERED = 20_000
"""Files of a folder from which on its list is remembered."""

LISTS = "SEGKIT_LISTS"
"""Variable: "fresh" looks into every folder at every start, for file systems that do not keep folders' times."""

UNSETTLED = 2_000_000_000
"""Nanoseconds for which a folder may change again without another time, on the coarsest clock of a file system."""


class Visited(NamedTuple):
    """A folder: its path below the root, "" for the root, its time of change in ns, and the names of its files."""

    below: str
    time: int
    names: list[str]


def visit(folder: str | Path, suffixes: Sequence[str]) -> Iterator[Visited]:
    """Visits a folder and all below it, each once and in the order of names; hidden files and folders are passed over.

    A link to a folder is followed unless that folder is visited anyway, so that links in a circle end. Folders that
    cannot be read are passed over.

    Args:
        folder: where to search.
        suffixes: of the files, in lower case.

    Yields:
        Each folder with the sorted names of its files that have one of the suffixes.
    """
    base, wanted = os.fspath(folder), frozenset(suffixes)
    root = os.path.realpath(base)
    seen = {root}
    waiting = [""]
    while waiting:
        below = waiting.pop()
        parent = os.path.join(base, below) if below else base
        folders: list[str] = []
        names: list[str] = []
        try:
            changed = os.stat(parent).st_mtime_ns  # before the pass: a later change then counts as one
            with os.scandir(parent) as entries:
                for entry in entries:
                    name = entry.name
                    if name.startswith("."):
                        continue
                    if _is_folder(entry):
                        folders.append(name)
                    elif os.path.splitext(name)[1].lower() in wanted:
                        names.append(name)
        except OSError:
            continue
        yield Visited(below, changed, sorted(names))
        inner = [name for name in sorted(folders) if _is_new(parent, name, root, seen)]
        waiting += [f"{below}/{name}" if below else name for name in reversed(inner)]


def _is_folder(entry: os.DirEntry) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _is_new(parent: str, name: str, root: str, seen: set[str]) -> bool:
    """Whether a subfolder is to be visited here: not a link to what lies below the root, and not visited before."""
    path = os.path.join(parent, name)
    real = os.path.realpath(path)
    if real in seen or (os.path.islink(path) and real.startswith(root + os.sep)):
        return False
    seen.add(real)
    return True


def same_text(name: str) -> str:
    """Returns a name in the one form in which names are compared.

    Accented letters are one character in names from Windows and Linux, and a letter with a mark of its own in archives
    from macOS.
    """
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def keyed_files(folder: str | Path, suffixes: Sequence[str]) -> dict[str, str]:
    """Lists the files of a folder and all below it.

    Processes of a machine that ask for a large folder at the same time wait for the first of them.

    Args:
        folder: where to search.
        suffixes: of the files, in lower case.

    Returns:
        {path below the folder without suffix, as same_text writes it: path}, sorted.

    Raises:
        DataError: two files differ only in their suffix, because either may be meant.
    """
    base = os.fspath(folder)
    about = json.dumps(["list 1", os.path.realpath(base), sorted(suffixes)])
    cache = index_folder() / f"{hashlib.sha256(about.encode(errors='surrogateescape')).hexdigest()[:20]}.list"
    is_fresh = os.environ.get(LISTS) == "fresh"
    with contextlib.ExitStack() as held:
        found = None if is_fresh else _remembered(cache, base)
        if found is not None:
            return found
        start, count, is_alone = time.time_ns(), 0, is_fresh
        visited: list[Visited] = []
        for item in visit(base, suffixes):
            visited.append(item)
            count += len(item.names)
            if count >= REMEMBERED and not is_alone:
                is_alone = True
                held.enter_context(_locked(cache))
                found = _remembered(cache, base)  # by the process that held the lock
                if found is not None:
                    return found
        files = _keyed(visited)
        paths = {key: os.path.join(base, below) for key, below in files.items()}
        if len(paths) < count:
            _refuse_twice(visited, base)
        is_settled = all(item.time < start - UNSETTLED for item in visited)
        if count >= REMEMBERED and is_settled and not is_fresh:
            _remember(cache, visited, files)
        return paths


def _keyed(visited: Sequence[Visited]) -> dict[str, str]:
    """Each file's path below the folder, by that path without suffix, sorted."""
    files: dict[str, str] = {}
    for below, _, names in visited:
        prefix = f"{below}/" if below else ""
        for name in names:
            files[same_text(prefix + os.path.splitext(name)[0])] = prefix + name
    return dict(sorted(files.items()))


def _refuse_twice(visited: Sequence[Visited], base: str) -> None:
    first: dict[str, str] = {}
    for below, _, names in visited:
        for name in names:
            path = f"{below}/{name}" if below else name
            other = first.setdefault(same_text(os.path.splitext(path)[0]), path)
            if other != path:
                paths = os.path.join(base, path), os.path.join(base, other)
                raise DataError(f"{paths[0]} and {paths[1]}: one name twice; remove one of the two files")


@contextlib.contextmanager
def _locked(cache: Path) -> Iterator[None]:
    """Holds the lock of a list; a cache that cannot be written is no reason not to read a folder."""
    lock: TextIO | None = None
    with contextlib.suppress(OSError):
        cache.parent.mkdir(parents=True, exist_ok=True)
        lock = open(cache.with_suffix(".lock"), "w", encoding="utf-8")  # noqa: SIM115
    if lock is None:
        yield
        return
    with lock:
        wait_for(lock)
        yield


def _remember(cache: Path, visited: Sequence[Visited], files: dict[str, str]) -> None:
    folders = json.dumps([[item.below, item.time] for item in visited])
    rows = (folders, "\0".join(files), "\0".join(files.values()))
    with contextlib.suppress(DataError):
        write_index(cache, (row.encode(errors="surrogateescape") for row in rows))


def _remembered(cache: Path, base: str) -> dict[str, str] | None:
    """The files of a list; None where there is none, or a folder has changed since."""
    try:
        folders, keys, paths = (row.decode(errors="surrogateescape") for row in open_index(cache))
        for below, changed in json.loads(folders):
            if os.stat(os.path.join(base, below) if below else base).st_mtime_ns != changed:
                return None
    except (OSError, ValueError):
        return None
    prefix = os.path.join(base, "")
    return dict(zip(keys.split("\0"), [prefix + path for path in paths.split("\0")], strict=True))
