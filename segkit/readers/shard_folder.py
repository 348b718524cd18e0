"""Folders of torch.distributed.checkpoint as segkit writes them: tensors in parts, found by an index of plain JSON.

torch's own index, `.metadata`, is a pickle, which runs what it names when torch reads it; it is written for torch's
tools and never opened here. A part of a tensor is read as any file of torch.save (segkit/readers/torch_file.py).
"""

import json
import math
import re
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from segkit.files import DataError, brief, open_regular, parse_json, read_text
from segkit.readers.torch_file import read_torch_bytes
from segkit.readers.torch_values import DTYPES

INDEX = "shards.json"
"""The index. It is written last: a folder with it is whole."""

MOST_INDEX = 1 << 30
"""Bytes of an index at most: some millions of parts."""

_FILE = re.compile(r"__\d+_\d+\.distcp")
_DTYPES = {str(dtype).removeprefix("torch."): dtype for dtype in DTYPES.values()}
WAY_OUT = "copy the folder again, or take another one"


class Part(NamedTuple):
    """A part of a tensor in a file.

    Attributes:
        offsets, sizes: of the part in the tensor, along each axis.
        file: name in the folder.
        start, length: bytes of the file.
    """

    offsets: tuple[int, ...]
    sizes: tuple[int, ...]
    file: str
    start: int
    length: int


class Stored(NamedTuple):
    """A tensor of the folder.

    Attributes:
        dtype, size: of the whole tensor.
        parts: that cover it.
    """

    dtype: torch.dtype
    size: tuple[int, ...]
    parts: list[Part]


def is_shard_folder(path: str | Path) -> bool:
    """Returns whether a path is a folder of a sharded checkpoint, and a whole one."""
    return (Path(path) / INDEX).is_file()


def index_text(tensors: Mapping[str, Stored]) -> str:
    """Returns the content of an index."""
    rows = {
        name: {"dtype": str(stored.dtype).removeprefix("torch."), "size": stored.size, "parts": stored.parts}
        for name, stored in tensors.items()
    }
    return json.dumps({"format": 1, "tensors": rows})


def read_index(folder: str | Path) -> dict[str, Stored]:
    """Reads the index of a folder.

    Raises:
        DataError: it is missing or no such index, names files outside of the folder, or files are missing or cut off.
    """
    path = Path(folder) / INDEX
    content = parse_json(read_text(path, most=MOST_INDEX), path)
    rows = content.get("tensors") if isinstance(content, dict) else None
    if not isinstance(rows, dict) or content.get("format") != 1:
        raise DataError(f"{path}: is no index of a sharded checkpoint of this version; {WAY_OUT}")
    tensors = {str(name): _stored(row, name, path) for name, row in rows.items()}
    ends: dict[str, int] = {}
    for stored in tensors.values():
        for part in stored.parts:
            ends[part.file] = max(ends.get(part.file, 0), part.start + part.length)
    sizes = {file: _size(path.parent / file) for file in ends}
    for file, end in ends.items():
        if sizes[file] < end:
            there = "is missing" if sizes[file] < 0 else f"has {sizes[file]} bytes of at least {end}"
            raise DataError(f"{path.parent / file}: {there}; {WAY_OUT}")
    if sum(math.prod(stored.size) * stored.dtype.itemsize for stored in tensors.values()) > sum(sizes.values()):
        raise DataError(f"{path}: its tensors are larger than its files; {WAY_OUT}")
    return tensors


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else -1


def _stored(row: Any, name: str, path: Path) -> Stored:
    try:
        dtype, size = _DTYPES[row["dtype"]], _numbers(row["size"])
        parts = [_part(part, size) for part in row["parts"]]
        if sum(math.prod(part.sizes) for part in parts) != math.prod(size):
            raise ValueError("its parts do not cover it")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(f"{path}: the entry of {brief(name)} is none ({brief(str(error))}); {WAY_OUT}") from error
    return Stored(dtype, size, parts)


def _part(row: Any, size: tuple[int, ...]) -> Part:
    offsets, sizes, file, start, length = row
    part = Part(_numbers(offsets), _numbers(sizes), str(file), *_numbers([start, length]))
    if not _FILE.fullmatch(part.file):
        raise ValueError(f"a part in the file {part.file}")
    if not len(part.offsets) == len(part.sizes) == len(size) or any(
        offset + extent > whole for offset, extent, whole in zip(part.offsets, part.sizes, size)
    ):
        raise ValueError("a part outside of its tensor")
    return part


def _numbers(values: Any) -> tuple[int, ...]:
    if not all(type(value) is int and 0 <= value < 1 << 62 for value in values):
        raise ValueError("a size that is none")
    return tuple(values)


def read_part(folder: str | Path, stored: Stored, part: Part) -> Tensor:
    """Reads a part of a tensor.

    Returns:
        Of the part's sizes, on the CPU.

    Raises:
        DataError: it is damaged, or not what the index says.
    """
    path = Path(folder) / part.file
    with open_regular(path) as file:
        file.seek(part.start)
        content = file.read(part.length)
    value = read_torch_bytes(content, path)
    if not isinstance(value, Tensor) or value.dtype != stored.dtype or tuple(value.shape) != part.sizes:
        raise DataError(f"{path}: holds another value than {INDEX} says; {WAY_OUT}")
    return value


def fill(folder: str | Path, index: Mapping[str, Stored], targets: Mapping[str, Tensor]) -> None:
    """Reads tensors of a folder into those that are given, whole ones and parts of sharded ones, by torch's planner.

    Args:
        folder: of the checkpoint.
        index: of read_index.
        targets: by their names in the index, of its sizes; only what this process holds is read.

    Raises:
        DataError: a file is damaged.
    """
    import torch.distributed.checkpoint as dcp

    from segkit.readers.shard_planning import ShardReader

    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "torch.distributed is disabled")  # each process reads for itself
            dcp.load(dict(targets), storage_reader=ShardReader(folder, index), no_dist=True)
    except dcp.CheckpointException as error:
        for found, _ in error.failures.values():
            if isinstance(found, DataError):
                raise found from error
        raise


def whole_tensors(folder: str | Path, names: Iterable[str] | None = None) -> dict[str, Tensor]:
    """Returns whole tensors of a folder by name, on the CPU; all of them by default."""
    index = read_index(folder)
    chosen = {name: index[name] for name in (index if names is None else names)}
    targets = {name: torch.zeros(stored.size, dtype=stored.dtype) for name, stored in chosen.items()}
    fill(folder, index, targets)
    return targets
