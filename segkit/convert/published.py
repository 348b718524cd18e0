"""Reads the tensors of a published checkpoint, even if its pickle names unknown classes; executes nothing."""

import collections
import pickle
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any

import torch
from torch import Tensor

TENSOR_BUILDERS = {
    ("torch._utils", "_rebuild_tensor_v2"),
    ("torch._utils", "_rebuild_tensor"),
    ("torch._utils", "_rebuild_parameter"),
    ("torch", "Size"),
}
"""Module and name of what builds a tensor. Nothing else that a file names is ever called."""

STATE_KEYS = ("state_dict", "model_state", "segmentor", "model", "net", "module")
"""Keys under which checkpoints hold their state dict; the first present one counts."""


class Unknown:
    """Placeholder for an object of a class that is not loaded: accepts all that a pickle does to it, does nothing."""

    def __new__(cls, *args: object, **kwargs: object) -> "Unknown":
        return super().__new__(cls)

    def __init__(self, *args: object, **kwargs: object):
        pass

    def __call__(self, *args: object, **kwargs: object) -> "Unknown":
        return self

    def __setstate__(self, state: object) -> None:
        pass

    def __setitem__(self, key: object, value: object) -> None:
        pass

    def append(self, value: object) -> None:
        """Does nothing."""

    def extend(self, values: object) -> None:
        """Does nothing."""

    def add(self, value: object) -> None:
        """Does nothing."""


class TensorUnpickler(pickle.Unpickler):
    """An unpickler that knows tensors, ordered dicts and storages; every other class becomes Unknown."""

    def find_class(self, module: str, name: str) -> Any:
        """Returns the class or function of this name in a module; Unknown for all but the harmless ones."""
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) in TENSOR_BUILDERS or (module in ("torch", "torch.storage") and name.endswith("Storage")):
            return super().find_class(module, name)
        return Unknown


def read_published(path: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Reads a published checkpoint.

    Args:
        path: a .pth or .pt file of any project.

    Returns:
        Tensors on the CPU by name, the prefix "module." removed; and the file's other entries of plain types.

    Raises:
        ValueError: the file holds no tensors or is damaged.
    """
    safe_pickle = SimpleNamespace(Unpickler=TensorUnpickler, load=_load, __name__="segkit_tensors")
    try:
        content = torch.load(path, map_location="cpu", pickle_module=safe_pickle, weights_only=False)
    except (pickle.UnpicklingError, RuntimeError, EOFError, KeyError, TypeError, AttributeError, OSError) as error:
        raise ValueError(f"{path}: is no checkpoint, or was cut off ({type(error).__name__}: {error})") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path}: holds a {type(content).__name__}, not a checkpoint")
    inner = next((content[key] for key in STATE_KEYS if isinstance(content.get(key), dict)), content)
    weights = {str(key): value.detach() for key, value in inner.items() if isinstance(value, Tensor)}
    if not weights:
        raise ValueError(f"{path}: holds no tensors; its keys are {', '.join(map(str, list(content)[:8]))}")
    weights = {key.removeprefix("module."): value for key, value in weights.items()}
    return weights, {str(key): value for key, value in content.items() if _is_plain(value)}


def described(meta: dict[str, Any]) -> dict[str, Any]:
    """Finds classes and palette among the entries of a published checkpoint, in mmengine's formats.

    Args:
        meta: the file's entries beside its tensors.

    Returns:
        "classes" and "palette", where the file names them.
    """
    inner = meta.get("meta", {})
    dataset_meta = inner.get("dataset_meta", inner) if isinstance(inner, dict) else {}
    lower = {str(key).lower(): value for key, value in dataset_meta.items()} if isinstance(dataset_meta, dict) else {}
    return {key: lower[key] for key in ("classes", "palette") if lower.get(key)}


def _load(file: IO[bytes], **options: Any) -> Any:
    return TensorUnpickler(file, **options).load()


def _is_plain(value: object) -> bool:
    if isinstance(value, dict):
        return all(_is_plain(inner) for inner in value.values())
    if isinstance(value, list | tuple):
        return all(_is_plain(inner) for inner in value)
    return isinstance(value, str | int | float | bool | None)
