"""What readers and writers of label formats share: sizes from headers, names of splits and of the background."""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from segkit.data.files.headers import picture_size
from segkit.data.files.images import IMAGE_SUFFIXES, check_pixels, load_array
from segkit.data.files.orientation import orientation
from segkit.data.files.pairs import some, walk_files
from segkit.files import DataError, open_regular, read_bytes

HEAD_BYTES = 1 << 18
"""Bytes from which the size of most pictures is known."""

SPLIT_NAMES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
"""The name of a split that segkit uses, by the words of other programs."""

BACKGROUND_NAMES = ("background", "_background_", "__background__", "bg", "bkg")
"""Names of the class of pixels that are no object, in lower case."""

BACKGROUND = "background"
"""Name of the class that is added where objects alone are labelled."""


def split_name(word: str) -> str:
    """Returns a split's name as segkit has it: "valid" becomes "val"; other words stay."""
    return SPLIT_NAMES.get(word.lower(), word)


def background_of(classes: Iterable[str]) -> int | None:
    """Returns the index of the class of the background among names, None where there is none."""
    found = (number for number, name in enumerate(classes) if name.strip().lower() in BACKGROUND_NAMES)
    return next(found, None)


def stored_size(path: str | Path) -> tuple[int, int]:
    """Reads the size of an image without decoding it.

    Args:
        path: a picture of any format that segkit reads, or .npy.

    Returns:
        (H, W) in pixels, as stored: an orientation that the file states is not applied.

    Raises:
        DataError: it is missing, damaged or no image.
    """
    if str(path).lower().endswith(".npy"):
        shape = load_array(path).shape
        if len(shape) not in (2, 3):
            raise DataError(f"{path}: an array of {len(shape)} axes; an image is [H,W] or [H,W,C]")
        return int(shape[0]), int(shape[1])
    with open_regular(path) as file:
        size = picture_size(file.read(HEAD_BYTES))
    if size is None:
        content = read_bytes(path)
        check_pixels(content, path)
        size = picture_size(content)
        assert size is not None, "check_pixels lets no picture pass whose size is unknown"
    return size


def turned_size(path: str | Path) -> tuple[int, int]:
    """Returns (H, W) of an image as its orientation says that it is shown; see stored_size."""
    height, width = stored_size(path)
    with open_regular(path) as file:
        is_turned = orientation(file.read(HEAD_BYTES)) > 4
    return (width, height) if is_turned else (height, width)


def pictures_below(folder: Path) -> dict[str, Path]:
    """Lists the images of a folder and its subfolders.

    Args:
        folder: where to search; it may be missing.

    Returns:
        {path below the folder without suffix: file}; of two files of one name the first in alphabetical order.
    """
    found: dict[str, Path] = {}
    if folder.is_dir():
        for path in walk_files(folder, IMAGE_SUFFIXES):
            found.setdefault(os.path.splitext(Path(path).relative_to(folder).as_posix())[0], Path(path))
    return found


def names_of(entries: object, source: str | Path) -> tuple[str, ...]:
    """Reads class names that a file has as a list, or as a mapping from numbers 0..K-1.

    Args:
        entries: the value in the file.
        source: file and key, for the error.

    Returns:
        K names.

    Raises:
        DataError: they are neither, the numbers have gaps, or a name stands twice.
    """
    values: Sequence[object] = []
    if isinstance(entries, Mapping):
        numbers = {int(key): value for key, value in entries.items() if str(key).isdecimal()}
        if len(numbers) < len(entries) or sorted(numbers) != [*range(len(numbers))]:
            raise DataError(f"{source}: numbers {some([*map(str, entries)])}; must be 0, 1, 2 ... without a gap")
        values = [numbers[number] for number in range(len(numbers))]
    elif isinstance(entries, list | tuple):
        values = entries
    names = tuple(str(value).strip() for value in values if isinstance(value, str | int | float))
    if not names or len(names) < len(values) or not all(names):
        raise DataError(f"{source}: must be a list of class names, or a mapping of their numbers to them")
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise DataError(f"{source}: the class '{twice[0]}' stands twice; each class needs a name of its own")
    return names
