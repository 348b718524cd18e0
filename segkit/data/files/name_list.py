"""Lists of images in text files, in any form that names each image: one reader for all data sets that take lists.

A line names an image by its path below the folder of images, by its name alone, or by any longer path, with or without
suffix, with / or \\. A second column, after a tab, a comma, a semicolon or a space, is its mask. Lines that begin with
# are comments; ./#1.png names an image. Files are UTF-8 with or without a byte order mark, or UTF-16 with one, with any
ends of lines.
"""

import codecs
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from segkit.data.files.listing import same_text
from segkit.data.files.pairs import some
from segkit.files import TEXT_BYTES, DataError, read_bytes

COLUMNS = (r"\t+", r"\s*;\s*", r"\s*,\s*", r"\s+")
"""What may stand between two columns, the surest first: names may hold spaces and commas."""

QUOTES = "\"'"
"""What may stand around a path."""


class Line(NamedTuple):
    """A line of a list.

    Attributes:
        number: in the file, from 1.
        text: without spaces around it.
    """

    number: int
    text: str


class Entry(NamedTuple):
    """What a line of a list means.

    Attributes:
        line: the line.
        image: key of the image.
        second: text of the second column, "" without one.
    """

    line: Line
    image: str
    second: str


def read_lines(path: Path, layout: str) -> list[Line]:
    """Reads a list, without blank lines and comments.

    Args:
        path: the file.
        layout: how the data set should look, for the error.

    Raises:
        DataError: it is missing, holds no name, or is no text in UTF-8 or UTF-16.
    """
    try:
        content = b"" if path.is_file() and not path.stat().st_size else read_bytes(path, TEXT_BYTES)
    except DataError as error:
        raise DataError(f"{error}; {layout}") from error
    is_wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    if b"\0" in content and not is_wide:
        raise DataError(f"{path}: no text (it holds zero bytes and no byte order mark); save it as UTF-8; {layout}")
    try:
        text = content.decode("utf-16" if is_wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        kind = "UTF-16" if is_wide else "UTF-8"
        raise DataError(f"{path}: no text in {kind} (byte {error.start}); save it as UTF-8; {layout}") from error
    stripped = (Line(number, same_text(line.strip())) for number, line in enumerate(text.splitlines(), 1))
    lines = [line for line in stripped if line.text and not line.text.startswith("#")]
    if not lines:
        raise DataError(f"{path}: the list is empty; one image name per line is expected")
    return lines


def list_text(names: Iterable[str]) -> str:
    """Returns the text of a list, a line for each image: a name that would be a comment begins with ./ there."""
    return "".join(f"./{name}\n" if name.startswith("#") else f"{name}\n" for name in names)


def read_names(path: Path, layout: str) -> list[str]:
    """Reads a list of names without folder and suffix, for layouts in which the name alone says where the files are.

    Args:
        path: the file.
        layout: how the data set should look, for the error.

    Raises:
        DataError: see read_lines.
    """
    firsts = (re.split(r"[\t;,]|\s", line.text, maxsplit=1)[0] for line in read_lines(path, layout))
    return [Path(first.replace("\\", "/")).stem if "/" in first or "\\" in first else _stem(first) for first in firsts]


SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".mat", ".npy", ".dcm", ".gif")
"""Suffixes that are no part of a name."""


def _stem(name: str) -> str:
    stem, suffix = os.path.splitext(name)
    return stem if suffix.lower() in SUFFIXES else name


def _spellings(text: str) -> list[str]:
    """A path with its suffix and without, with \\ and with /."""
    plain = [written.removeprefix("./") for written in (text, text.replace("\\", "/"))]
    return list(dict.fromkeys(name for path in plain for name in (path, _stem(path), os.path.splitext(path)[0])))


class Finder:
    """Finds the file that a text means.

    A key and a text mean the same where they are equal, or where one is the end of the other ("b", "a/b", "/x/a/b"),
    without suffix where only one of them has it, or both have another.

    Args:
        keys: of the files, paths with / and with or without suffix.
    """

    def __init__(self, keys: Iterable[str]):
        self._exact: dict[str, str] = {}
        self._by_end: dict[str, list[str]] = {}
        for key in keys:
            for written in dict.fromkeys((key, _stem(key))):
                self._exact.setdefault(written, key)
                ends = self._by_end.setdefault(written.rpartition("/")[2], [])
                if key not in ends:
                    ends.append(key)

    def matches(self, text: str) -> list[str]:
        """Returns the keys that a text can mean: one where it is clear, none where there is none.

        Of several the longest are taken: "/x/a/b" is "a/b" where there is one, and "b" otherwise.
        """
        return self.exact(text) or next(filter(None, map(self._ending, _spellings(text))), [])

    def exact(self, text: str) -> list[str]:
        """Returns the key that equals a text but for its suffix, in a list; [] where there is none."""
        return [self._exact[name] for name in _spellings(text) if name in self._exact][:1]

    def _ending(self, name: str) -> list[str]:
        words, found = name.strip("/").split("/"), dict[str, int]()
        for key in self._by_end.get(words[-1], ()):
            for written in (key, _stem(key)):
                own = written.strip("/").split("/")
                count = min(len(own), len(words))
                if own[-count:] == words[-count:]:
                    found[key] = count
        longest = max(found.values(), default=0)
        return [key for key, count in found.items() if count == longest]


def find_entries(lines: Sequence[Line], finder: Finder, path: str | Path, of: str) -> list[Entry]:
    """Finds the image of each line.

    Args:
        lines: of a list.
        finder: of the images.
        path: of the list, for the error.
        of: the folder or data set that holds the images, for the error.

    Returns:
        One entry per line.

    Raises:
        DataError: names the lines that mean no image, or could mean several.
    """
    entries, missing, unclear = [], [], []
    for line in lines:
        found, second = finder.exact(line.text), ""
        for text, rest in [] if found else _readings(line.text):
            if found := finder.matches(text):
                second = rest
                break
        if len(found) == 1:
            entries.append(Entry(line, found[0], second))
        elif found:
            unclear.append(f"line {line.number} '{line.text}' ({', '.join(found[:3])})")
        else:
            missing.append(f"line {line.number} '{line.text}'")
    if missing:
        raise DataError(
            f"{path}: {len(missing)} of {len(lines)} names have no image in {of}: {some(missing)}; a line is the path "
            "of an image, with or without folders and suffix, and its mask after it or nothing"
        )
    if unclear:
        raise DataError(
            f"{path}: {len(unclear)} of {len(lines)} names mean several images of {of}: {some(unclear)}; write the "
            "folder before the name"
        )
    return entries


def _readings(text: str) -> Iterator[tuple[str, str]]:
    """Ways to read a line as image and mask: as two columns first, since a mask's path mostly ends in the same name."""
    bare = re.sub(r"\s+#.*$", "", text)
    for pattern in COLUMNS:
        first, *others = re.split(pattern, bare, maxsplit=1)
        if others and first:
            yield first.strip(QUOTES), others[0].strip().strip(QUOTES)
    for whole in dict.fromkeys((text, bare, bare.strip(QUOTES))):
        yield whole, ""


def find_masks(entries: Sequence[Entry], masks: Mapping[str, str], path: str | Path, folder: Path) -> dict[str, str]:
    """Finds the masks that a list names in its second column.

    Args:
        entries: of the list.
        masks: {key: path} of the masks' files.
        path: of the list, for the error.
        folder: of the masks, for the error.

    Returns:
        {key of the image: path of its mask}, of the lines with a second column.

    Raises:
        DataError: names the lines whose second column is no mask, or could be several.
    """
    finder, chosen, wrong = Finder(masks), dict[str, str](), []
    for entry in entries:
        if entry.second:
            found = finder.matches(entry.second)
            if len(found) == 1:
                chosen[entry.image] = masks[found[0]]
            else:
                wrong.append(f"line {entry.line.number} '{entry.second}'{' (several)' if found else ''}")
    if wrong:
        raise DataError(
            f"{path}: {len(wrong)} of {len(entries)} lines name in the second column what is no one mask in {folder}: "
            f"{some(wrong)}; write the mask's path, or the image alone"
        )
    return chosen
