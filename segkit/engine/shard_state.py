"""The state of a sharded training as its folder holds it: tensors in parts, and `state.pt` with all else."""

import shutil
from pathlib import Path
from typing import Any

from torch import Tensor

from segkit.files import DataError
from segkit.readers.shard_folder import is_shard_folder, whole_tensors
from segkit.readers.torch_file import read_torch

STATE = "state.pt"
"""All of a checkpoint but weights and the optimizer's tensors."""

SHARDS = "shards"
"""Folder of a stage that holds the folders of its checkpoints."""


def folders(place: Path) -> list[Path]:
    """Returns the sharded checkpoints of a stage's folder that are whole, by their steps."""
    found = [path for path in (place / SHARDS).glob("step_*") if path.name[5:].isdecimal() and is_shard_folder(path)]
    return sorted(found, key=lambda path: int(path.name[5:]))


def remove_old(place: Path, keep: int) -> None:
    """Removes the checkpoints of a folder but the newest `keep`, and what killed runs have left; none is written."""
    found = folders(place.parent)
    for path in (*found[: max(len(found) - keep, 0)], *place.glob(".step_*.part")):
        shutil.rmtree(path, ignore_errors=True)
    if not keep:
        shutil.rmtree(place, ignore_errors=True)


def split(state: dict[str, Any]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Splits a state into the tensors that processes write, by names with "/", and the rest."""
    tensors: dict[str, Tensor] = {}
    for key in ("model", "ema"):
        tensors |= {f"{key}/{name}": value for name, value in state.get(key, {}).items()}
    entries = state["optimizer"]["state"]
    numbers: dict[int, dict[str, Any]] = {}
    for number, values in entries.items():
        tensors |= {f"optimizer/{number}/{name}": v for name, v in values.items() if isinstance(v, Tensor)}
        numbers[number] = {name: v for name, v in values.items() if not isinstance(v, Tensor)}
    rest = {key: value for key, value in state.items() if key not in ("model", "ema", "optimizer")}
    rest["optimizer"] = {**state["optimizer"], "state": numbers}
    return tensors, rest


def joined(rest: dict[str, Any], tensors: dict[str, Tensor]) -> dict[str, Any]:
    """Undoes split."""
    state = {**rest, "model": {}, "optimizer": {**rest["optimizer"]}}
    entries = {number: {**values} for number, values in rest["optimizer"].get("state", {}).items()}
    for name, value in tensors.items():
        kind, _, inner = name.partition("/")
        if kind == "optimizer":
            number, _, entry = inner.partition("/")
            entries.setdefault(int(number), {})[entry] = value
        elif kind in ("model", "ema"):
            state.setdefault(kind, {})[inner] = value
    state["optimizer"]["state"] = entries
    return state


def read_rest(folder: Path) -> dict[str, Any]:
    """Reads a checkpoint's state without its tensors; nothing of the file is executed.

    Raises:
        DataError: it is damaged.
    """
    path = folder / STATE
    content = read_torch(path)
    if not isinstance(content, dict) or not isinstance(content.get("optimizer"), dict):
        raise DataError(f"{path}: is no state of a sharded checkpoint; take another one")
    return content


def read_whole(folder: Path) -> dict[str, Any]:
    """Reads a checkpoint as one process without sharding holds it: what last.pt would hold.

    Raises:
        DataError: a file is missing or damaged.
    """
    return joined(read_rest(folder), whole_tensors(folder))
