"""Finding the files that an annotation file names: written on other systems, they may be spelled otherwise."""

import os
from collections.abc import Sequence
from pathlib import Path

from segkit.data.files.listing import same_text
from segkit.data.files.pairs import some
from segkit.files import DataError, inside

OUTSIDE = "set outside=True where you made the file yourself"
"""End of the error about a name that leads out of the folder, of readers that have this argument."""


def find_named(
    folder: Path, names: Sequence[str], source: str | Path, *, outside: bool = False, remedy: str = OUTSIDE
) -> list[str]:
    r"""Finds files by the names that an annotation file gives them.

    A name that has no file as it is written is also sought with / in place of Windows' \, and with its accented letters
    in another Unicode form. Each folder is listed once.

    Args:
        folder: the names are relative to it.
        names: paths below the folder.
        source: the annotation file, for errors.
        outside: whether names may be absolute or lead out of the folder.
        remedy: end of the error about a name that leads out of the folder.

    Returns:
        Each name as the file is called, relative to the folder.

    Raises:
        DataError: there is no such folder, a name leads out of it, or files are missing.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder of images; set the folder in which the files of {source} lie")
    files = find_each(folder, names, source, outside=outside, remedy=remedy)
    found = [file for file in files if file is not None]
    missing = [name for name, file in zip(names, files) if file is None]
    if missing:
        slashes = "; \\ in these names is taken for /" if any("\\" in name for name in missing) else ""
        raise DataError(
            f"{folder}: {len(missing)} of {len(names)} images are missing: {some(missing)}; {source} names them; "
            f"correct the folder of images, or copy them there{slashes}"
        )
    return found


def find_each(
    folder: Path, names: Sequence[str], source: str | Path, *, outside: bool = False, remedy: str = OUTSIDE
) -> list[str | None]:
    """Finds files as find_named does, in a folder that exists; None for each one that is missing.

    Raises:
        DataError: a name leads out of the folder.
    """
    listing = _Listing(folder)
    found = []
    for name in names:
        if not outside:
            inside(folder, name, source, remedy)
        file = listing.find(name)
        if file is None and "\\" in name:
            file = listing.find(name.replace("\\", "/"))
        found.append(file)
    return found


class _Listing:
    """The files below a folder, by names in one Unicode form."""

    def __init__(self, folder: Path):
        self._folder = folder
        self._names: dict[str, dict[str, str]] = {}
        self._folders: dict[str, str | None] = {"": ""}

    def find(self, name: str) -> str | None:
        """The path of a file below the folder as it is spelled there, None where it is missing."""
        if name.startswith("/") or ".." in name.split("/"):
            return name if (self._folder / name).is_file() else None
        parent, _, last = name.rpartition("/")
        if parent not in self._folders:
            self._folders[parent] = self.find(parent)
        below = self._folders[parent]
        if below is None:
            return None
        if below not in self._names:
            path = self._folder / below
            listed = os.listdir(path) if path.is_dir() else []
            # where both forms are there, the name as it is written wins
            self._names[below] = {same_text(file): file for file in listed} | {file: file for file in listed}
        names = self._names[below]
        file = names.get(last) or names.get(same_text(last))
        return None if file is None else f"{below}/{file}" if below else file
