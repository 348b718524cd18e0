"""Bringing the images of a folder together with the labels that name them, as tools on other machines wrote them."""

import os
import re
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Generic, TypeVar

from segkit.data.files.images import IMAGE_SUFFIXES
from segkit.data.files.listing import same_text
from segkit.data.files.pairs import some, walk_files
from segkit.data.formats.base import LabelReader
from segkit.data.formats.common import split_name
from segkit.files import DataError, open_regular, shortened

Labels = TypeVar("Labels")

HEAD, TAIL = 1 << 16, 1 << 12
"""Bytes of a file's begin and end by which its format is told."""

MOST_SNIFFED = 5
"""Files whose heads are looked at."""

MOST_WALKED = 20_000
"""Files of a folder that are passed while those are sought."""


def ends_of(path: Path) -> str:
    """Returns the first and last letters of a file, "" where it cannot be read."""
    try:
        with open_regular(path) as file:
            head = file.read(HEAD)
            file.seek(max(file.tell(), os.fstat(file.fileno()).st_size - TAIL))
            return (head + file.read(TAIL)).decode("utf-8", "replace")
    except (DataError, OSError):
        return ""


def first_files(root: Path, suffix: str, most: int = MOST_SNIFFED) -> list[Path]:
    """Returns the file itself where `root` is one with the suffix, else the first ones in the folder and below it."""
    if root.is_file():
        return [root] if root.name.lower().endswith(suffix) else []
    if not root.is_dir():
        return []
    passed = islice(walk_files(root, ("." + suffix.rpartition(".")[2],)), MOST_WALKED)
    return [Path(path) for path in islice((path for path in passed if path.lower().endswith(suffix)), most)]


def evidence(root: Path, suffix: str, is_ours: Callable[[str], bool], holds: str) -> str | None:
    """Says how many of the first files of a folder are of a format, for LabelReader.sniff.

    Args:
        root: a folder or file.
        suffix: of the format's files.
        is_ours: tells by the first and last letters of a file.
        holds: what those files hold, in words.

    Returns:
        "2 of 5 files *.json looked at hold ...", None where none is of the format.
    """
    files = first_files(root, suffix)
    matching = sum(is_ours(ends_of(path)) for path in files)
    return f"{matching} of {len(files)} files *{suffix} looked at hold {holds}" if matching else None


def all_files(root: Path, suffix: str) -> list[Path]:
    """Returns the file itself where `root` is one, else all files with the suffix in the folder and below it."""
    if root.is_file():
        return [root]
    found = walk_files(root, ("." + suffix.rpartition(".")[2],))
    return [Path(path) for path in found if path.lower().endswith(suffix)]


def folder_of(root: Path) -> Path:
    """Returns the folder in which images are sought: `root`, or where the file lies."""
    return root.parent if root.is_file() else root


class Pictures:
    """The image files below a folder. What a label file names is found among them and nowhere else.

    Args:
        root: the folder.
        suffixes: of the files, in lower case.
    """

    def __init__(self, root: Path, suffixes: tuple[str, ...] = IMAGE_SUFFIXES):
        self.root = root
        self._by_name: dict[str, list[Path]] = {}
        for file in walk_files(root, suffixes):
            self._by_name.setdefault(same_text(os.path.basename(file)).casefold(), []).append(Path(file))

    def __iter__(self) -> Iterator[Path]:
        return iter(sorted(path for paths in self._by_name.values() for path in paths))

    def find(self, named: str, source: str, near: Path | None = None) -> Path | None:
        r"""Finds the image that a label file names, perhaps by its path on another machine.

        Args:
            named: a path with / or \, relative or absolute, or a URL.
            source: file and object, for the error.
            near: folder that a relative path is relative to.

        Returns:
            The file whose path ends most like the named one; None where no file is called so.

        Raises:
            DataError: several files fit equally well.
        """
        parts = [same_text(part) for part in re.split(r"[/\\]", named) if part not in ("", ".")]
        if not parts:
            return None
        candidates = self._by_name.get(parts[-1].casefold(), [])
        if near is not None:
            direct = Path(os.path.normpath(near.joinpath(*parts)))
            if direct in candidates:
                return direct
        scores = [_common_end(parts, file) for file in candidates]
        best = [file for file, score in zip(candidates, scores) if score == max(scores)]
        if len(best) > 1:
            raise DataError(
                f"{source}: names the image {shortened(named, 200)!r}, which may be {some([*map(str, best)], 3)}; "
                "move the others away, or give the folder of one"
            )
        return best[0] if best else None


def _common_end(parts: list[str], file: Path) -> int:
    count = 0
    for named, own in zip(reversed(parts), reversed(file.parts)):
        if named.casefold() != same_text(own).casefold():
            break
        count += 1
    return count


class Gathered(Generic[Labels]):
    """Images and their labels, while a folder is opened.

    Args:
        root: the folder.
    """

    def __init__(self, root: Path):
        self.root = root
        self.pictures = Pictures(root)
        self.images: list[Path] = []
        self.labels: list[Labels | None] = []
        self.missing: list[str] = []
        self._sources: dict[Path, str] = {}

    def add(self, named: str, labels: Labels, source: str, near: Path | None = None) -> bool:
        """Takes the labels of an image.

        Args:
            named: the image, as the label file names it.
            labels: what its item is read from.
            source: file and object, for errors.
            near: see Pictures.find.

        Returns:
            Whether there is such an image.

        Raises:
            DataError: the image has labels already, or several images fit.
        """
        path = self.pictures.find(named, source, near)
        if path is None:
            self.missing.append(named)
            return False
        if path in self._sources:
            raise DataError(f"{source} and {self._sources[path]} both label {path}; remove one of them")
        self._sources[path] = source
        self.images.append(path)
        self.labels.append(labels)
        return True

    def add_bare(self) -> int:
        """Adds the images without labels that lie in the folders of those with labels; returns how many."""
        folders = {path.parent for path in self.images}
        bare = [path for path in self.pictures if path.parent in folders and path not in self._sources]
        self.images += bare
        self.labels += [None] * len(bare)
        return len(bare)

    def finish(self, reader: LabelReader) -> None:
        """Hands the images and what is to be said of them to a reader.

        Raises:
            DataError: there are labels, and no image that they name.
        """
        if not self._sources:
            named = f"; the labels name {some([shortened(name, 100) for name in self.missing], 3)}"
            raise DataError(
                f"{self.root}: no labelled image below this folder{named if self.missing else ''}; copy the images "
                "there, or give the folder that holds images and labels"
            )
        notes = list(reader.notes)
        if self.missing:
            names = some([shortened(name, 100) for name in self.missing], 3)
            notes.append(f"{len(self.missing)} labelled images are not below {self.root} and are left out: {names}")
        bare = sum(labels is None for labels in self.labels)
        if bare:
            notes.append(f"{bare} images have no labels")
        reader.images, reader.notes = self.images, tuple(notes)


def splits_of(names: list[str]) -> dict[str, list[int]]:
    """Groups items by the split that each names; {} where they name one alone, or one that is no name of a split.

    Args:
        names: as the files have them, one per item.
    """
    splits: dict[str, list[int]] = {}
    for number, name in enumerate(names):
        splits.setdefault(split_name(name), []).append(number)
    return splits if splits and set(splits) <= {"train", "val", "test"} else {}


class FilePerImage(LabelReader):
    """Base of the readers of formats that have one file of labels for each image."""

    _labels: Gathered[Path]

    def is_labelled(self, index: int) -> bool:
        return self._labels.labels[index] is not None

    def label_file(self, index: int) -> Path | None:
        return self._labels.labels[index]
