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
from segkit.files import DataError, write_whole
from segkit.types import IGNORE

FORMAT = 1
"""Number of the cache files' layout; another one makes old files unread."""

NOT_ARGUMENTS = ("_cache",)
"""Attributes of a data set that change while it is read and say nothing about its labels."""


def cache_folder() -> Path:
    """$SEGKIT_CACHE/statistics, or work_dirs/statistics where the variable is not set."""
    return Path(os.environ.get("SEGKIT_CACHE", "work_dirs")).expanduser() / "statistics"


def scan(
    dataset: Dataset, measure: Callable[[np.ndarray], Any], name: str, *, workers: int = 0, refresh: bool = False
) -> list:
    """measure: mask integer [H,W] -> a value JSON can hold; name: of the measure with its arguments, for the file.

    -> one value per image, None for images without a mask, in the order of the data set for any number of workers.
    They come from the cache where neither the data set nor a mask file differs from the last pass; refresh reads
    anyway. In a distributed run the first process reads the masks while the others wait for its file, so all
    processes call this together. DataError names the mask that cannot be measured.
    """
    file = cache_folder() / f"{key(dataset, name)}.json"
    if dist.is_distributed():
        if dist.is_main():
            _cached(dataset, measure, file, workers=workers, refresh=refresh)
        dist.barrier()
        refresh = False
    return _cached(dataset, measure, file, workers=workers, refresh=refresh)


def _cached(dataset: Dataset, measure: Callable, file: Path, *, workers: int, refresh: bool) -> list:
    values = None if refresh else _read(file, len(dataset))
    if values is None:
        values = _measure_all(dataset, measure, workers)
        _write(file, {"data": type(dataset).__name__, "images": len(dataset), "values": values})
    return values


def _read(file: Path, num_images: int) -> list | None:
    """-> the values of the file; None where there is none, or where a broken write left half of one."""
    try:
        values = json.loads(file.read_text())["values"]
    except (OSError, ValueError, KeyError):
        return None
    return values if len(values) == num_images else None


def _write(file: Path, content: dict) -> None:
    write_whole(file, json.dumps(content, separators=(",", ":")), "set SEGKIT_CACHE to another folder")


def key(dataset: Dataset, name: str) -> str:
    """-> 20 hexadecimal digits of the data set's type, arguments and ids, and of its mask files' sizes and times."""
    about = [FORMAT, name, plain(dataset), list(dataset.classes), ignore_of(dataset), list(map(str, dataset.ids))]
    files = [_stamp(dataset.mask_path(i)) if dataset.has_mask(i) else None for i in range(len(dataset))]
    return hashlib.sha256(json.dumps([about, files]).encode()).hexdigest()[:20]


def _stamp(path: str) -> tuple[int, int] | None:
    """-> size in bytes and time of change in ns; None for labels that lie in no file of their own."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns


def plain(value: Any) -> Any:
    """-> the value as lists, numbers and text, equal for equal content in every process: objects as their type and
    attributes, arrays as a hash, functions by name."""
    if value is None or isinstance(value, str | int | float | bool):
        return value
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    if isinstance(value, dict):
        return sorted(([repr(name), plain(inner)] for name, inner in value.items()), key=lambda pair: pair[0])
    if isinstance(value, set | frozenset):
        return sorted(map(repr, value))
    if isinstance(value, np.ndarray):
        return [str(value.dtype), list(value.shape), hashlib.sha256(np.ascontiguousarray(value)).hexdigest()]
    if isinstance(value, Path | np.generic):
        return str(value)
    named = value if hasattr(value, "__qualname__") else type(value)
    name = f"{named.__module__}.{named.__qualname__}"
    own = {} if named is value else getattr(value, "__dict__", {})
    return [name, plain({k: v for k, v in own.items() if k not in NOT_ARGUMENTS})]


def ignore_of(dataset: Dataset) -> int:
    """-> the label of pixels without a class: the data set's own `ignore`, or 255."""
    return getattr(dataset, "ignore", IGNORE)


class _Masks(TorchDataset):
    """Item index -> measure(mask), None without a mask."""

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
