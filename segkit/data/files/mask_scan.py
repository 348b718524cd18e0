"""One pass over all masks of a data set, remembered in a file named after what was read."""

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from segkit import dist
from segkit.data.dataset import Dataset
from segkit.files import DataError, parse_json, read_text, write_whole

FORMAT = 1
"""Number of the cache files' layout; another one makes old files unread."""

NOT_ARGUMENTS = ("_cache", "facts", "lost")
"""Attributes of a data set that change while it is read and say nothing about its labels."""


def cache_folder() -> Path:
    """Returns $SEGKIT_CACHE/statistics, or work_dirs/statistics where the variable is not set."""
    return Path(os.environ.get("SEGKIT_CACHE", "work_dirs")).expanduser() / "statistics"


def scan(
    dataset: Dataset, measure: Callable[[np.ndarray], Any], name: str, *, workers: int = 0, refresh: bool = False
) -> list:
    """Measures every mask of a data set.

    The values come from the cache where neither the data set nor a mask file differs from the last pass. In a
    distributed run the first process, and that of each machine with a disk of its own, reads the masks while the others
    wait for its file, so all processes call this together.

    Args:
        dataset: a set with class masks.
        measure: takes a mask, integer [H,W], and returns a value that JSON can hold.
        name: of the measure with its arguments, for the file.
        workers: processes that read the masks; 0 reads in this one.
        refresh: reads the masks in any case.

    Returns:
        One value per item in the order of the data set, None for items without a mask.

    Raises:
        DataError: names the mask that cannot be measured.
    """
    file = cache_folder() / f"{key(dataset, name)}.json"
    if dist.is_distributed():
        if dist.is_main():
            _cached(dataset, measure, file, workers=workers, refresh=refresh)
        dist.barrier()
        refresh = False
        if len(dist.nodes()) > 1:
            if dist.local_rank() == 0:  # reads the file, or the masks where the machine has a disk of its own
                _cached(dataset, measure, file, workers=workers, refresh=refresh)
            dist.barrier()
    return _cached(dataset, measure, file, workers=workers, refresh=refresh)


def _cached(dataset: Dataset, measure: Callable, file: Path, *, workers: int, refresh: bool) -> list:
    values = None if refresh else _read(file, len(dataset))
    if values is None:
        values = _measure_all(dataset, measure, workers)
        _write(file, {"data": type(dataset).__name__, "images": len(dataset), "values": values})
    return values


def _read(file: Path, num_images: int) -> list | None:
    """The values in the file; None where there is none, or where a broken write left half of one."""
    try:
        values = parse_json(read_text(file), file)["values"]
    except (ValueError, KeyError, TypeError):
        return None
    return values if len(values) == num_images else None


def _write(file: Path, content: dict) -> None:
    write_whole(file, json.dumps(content, separators=(",", ":")), "set SEGKIT_CACHE to another folder")


def key(dataset: Dataset, name: str) -> str:
    """Names the cache file of a measure.

    Args:
        dataset: the set that is measured.
        name: of the measure with its arguments.

    Returns:
        20 hexadecimal digits: a hash of the data set's type, arguments and ids, and of its mask files' sizes and times.
    """
    about = [FORMAT, name, as_json(dataset), list(dataset.classes), dataset.ignore, list(map(str, dataset.ids))]
    files = [_stamp(dataset.mask_path(i)) if dataset.has_mask(i) else None for i in range(len(dataset))]
    return hashlib.sha256(json.dumps([about, files]).encode()).hexdigest()[:20]


def _stamp(path: str) -> tuple[int, int] | None:
    """Size in bytes and time of change in ns; None for labels that lie in no file of their own."""
    try:
        stat = os.stat(path)
    except OSError:
        return None
    return stat.st_size, stat.st_mtime_ns


def as_json(value: Any) -> Any:
    """Describes any value by lists, numbers and text.

    Args:
        value: objects are described by their type and attributes, arrays by a hash, functions by their name.

    Returns:
        What JSON can hold, equal for equal content in every process.
    """
    if value is None or isinstance(value, str | int | float | bool):
        return value
    if isinstance(value, list | tuple):
        return [as_json(inner) for inner in value]
    if isinstance(value, dict):
        return sorted(([repr(name), as_json(inner)] for name, inner in value.items()), key=lambda pair: pair[0])
    if isinstance(value, set | frozenset):
        return sorted(map(repr, value))
    if isinstance(value, np.ndarray):
        return [str(value.dtype), list(value.shape), hashlib.sha256(np.ascontiguousarray(value).data).hexdigest()]
    if isinstance(value, Path | np.generic):
        return str(value)
    is_named = hasattr(value, "__qualname__")  # a function or a class
    described = value if is_named else type(value)
    attributes = {} if is_named else getattr(value, "__dict__", {})
    name = f"{described.__module__}.{described.__qualname__}"
    return [name, as_json({k: v for k, v in attributes.items() if k not in NOT_ARGUMENTS})]


def ignore_of(dataset: Dataset) -> int:
    """Returns the label of pixels without a class, `dataset.ignore`."""
    return dataset.ignore


class _Masks(TorchDataset):
    """The measured masks of a data set by index, None for items without a mask."""

    def __init__(self, dataset: Dataset, measure: Callable):
        self.dataset, self.measure = dataset, measure

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Any:
        if not self.dataset.has_mask(index):
            return None
        mask = self.dataset.mask(index)
        try:
            return self.measure(mask)
        except DataError as error:
            raise DataError(f"{self.dataset.mask_path(index)}: {error}") from error


def _itself(value: Any) -> Any:
    return value


def _start_worker(_: int) -> None:
    import cv2

    cv2.setNumThreads(0)


def _measure_all(dataset: Dataset, measure: Callable, workers: int) -> list:
    """A pass over the masks, with a progress bar where somebody watches."""
    from tqdm import tqdm

    if type(dataset).mask is Dataset.mask:
        raise DataError(f"{type(dataset).__name__} gives no class masks; statistics count the pixels of class masks")
    loader = DataLoader(
        _Masks(dataset, measure),
        batch_size=None,
        num_workers=workers,
        collate_fn=_itself,
        worker_init_fn=_start_worker if workers else None,
    )
    return list(tqdm(loader, "reading masks", len(dataset), unit="mask", disable=None, leave=False))
