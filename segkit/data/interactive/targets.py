"""Lists of (image, object) for evaluation, found by reading every label file once."""

import json
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from segkit.data.files.flat_index import LazySequence, cached_index
from segkit.files import DataError


def records(names: Sequence[str], find: Callable[[str], Sequence[int]]) -> Iterator[bytes]:
    """Yields a record, JSON [name, values], for each image that has an object.

    Args:
        names: of images.
        find: reads the values of the objects in the label file of an image, given its name.
    """
    from tqdm import tqdm

    for name in tqdm(names, "reading labels", unit="image", disable=None, leave=False):
        values = [int(value) for value in find(name)]
        if values:
            yield json.dumps([name, values]).encode()


class Targets(LazySequence[str]):
    """The objects of all images in sequence, stored in flat arrays. As a sequence it gives their ids, "name_value".

    Args:
        pairs: for each image, its name and the values of its objects in the label file.
    """

    def __init__(self, pairs: Sequence[tuple[str, Sequence[int]]]):
        self._names = np.array([name for name, _ in pairs])
        self._image = np.repeat(np.arange(len(pairs)), [len(values) for _, values in pairs])
        self._value = np.array([value for _, values in pairs for value in values], np.int64)

    def __len__(self) -> int:
        return len(self._image)

    def item(self, index: int) -> str:
        """Makes an object's id."""
        return f"{self.name(index)}_{self.value(index)}"

    def name(self, index: int) -> str:
        """Name of the object's image."""
        return str(self._names[self._image[index]])

    def value(self, index: int) -> int:
        """Value of the object in the label file."""
        return int(self._value[index])


def find_targets(
    names: Sequence[str], find: Callable[[str], Sequence[int]], *, sources: Sequence[Path], about: str
) -> Targets:
    """Finds every object of a data set. The result is kept in a cache file, because all labels are read for it.

    Args:
        names: of images.
        find: reads the values of the objects in the label file of an image, given its name.
        sources: files or folders; the list is made anew when one of them changes.
        about: the reader and its options, part of the cache file's name.

    Raises:
        DataError: no image has an object.
    """
    index = cached_index(sources, f"{about} {names}", partial(records, names, find), keep=True)
    if not len(index):
        raise DataError(f"{sources[0]}: none of {len(names)} images has an object")
    return Targets([json.loads(record) for record in index])
