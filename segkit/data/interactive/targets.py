"""Lists of (image, object) for evaluation, found by reading every label file once."""

import json
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from segkit.data.files.flat_index import cached_index
from segkit.files import DataError


def records(names: Sequence[str], find: Callable[[str], Sequence[int]]) -> Iterator[bytes]:
    """names: of images; find: name -> the values of its objects -> one record per image that has an object."""
    from tqdm import tqdm

    for name in tqdm(names, "reading labels", unit="image", disable=None, leave=False):
        values = [int(value) for value in find(name)]
        if values:
            yield json.dumps([name, values]).encode()


class Targets(Sequence):
    """The objects of all images, one after the other, in flat arrays; as a sequence it gives their ids "name_value"."""

    def __init__(self, pairs: Sequence[tuple[str, Sequence[int]]]):
        """pairs: name and values of each image."""
        self._names = np.array([name for name, _ in pairs])
        self._image = np.repeat(np.arange(len(pairs)), [len(values) for _, values in pairs])
        self._value = np.array([value for _, values in pairs for value in values], np.int64)

    def __len__(self) -> int:
        return len(self._image)

    def __getitem__(self, index: int) -> str:
        return f"{self.name(index)}_{self.value(index)}"

    def name(self, index: int) -> str:
        """The image's name."""
        return str(self._names[self._image[index]])

    def value(self, index: int) -> int:
        """The object's value in the label file."""
        return int(self._value[index])


def find_targets(
    names: Sequence[str], find: Callable[[str], Sequence[int]], *, sources: Sequence[Path], about: str
) -> Targets:
    """names, find: as of `records`; sources: files or folders whose change makes the list anew; about: the reader and
    its options -> every object. The list is kept in a file, because all labels are read for it."""
    index = cached_index(sources, f"{about} {names}", partial(records, names, find), keep=True)
    if not len(index):
        raise DataError(f"{sources[0]}: none of {len(names)} images has an object")
    return Targets([json.loads(record) for record in index])
