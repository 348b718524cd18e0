"""Reads the tensors of a published checkpoint, also where its pickle names classes nobody has; executes nothing."""

import collections
import pickle
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

TENSOR_PARTS = {
    ("torch._utils", "_rebuild_tensor_v2"),
    ("torch._utils", "_rebuild_tensor"),
    ("torch._utils", "_rebuild_parameter"),
    ("torch", "Size"),
}
"""What a tensor is made of. Nothing else of the file's choice is ever called."""

STATE_KEYS = ("state_dict", "model_state", "segmentor", "model", "net", "module")


class Unknown:
    """Stands for an object of a class that is not loaded: takes whatever the pickle does to it and does nothing."""

    def __new__(cls, *args: Any, **kwargs: Any) -> "Unknown":
        return super().__new__(cls)

    def __init__(self, *args: Any, **kwargs: Any):
        pass

    def __call__(self, *args: Any, **kwargs: Any) -> "Unknown":
        return self

    def __setstate__(self, state: Any) -> None:
        pass

    def __setitem__(self, key: Any, value: Any) -> None:
        pass

    def append(self, value: Any) -> None:
        pass

    def extend(self, values: Any) -> None:
        pass

    def add(self, value: Any) -> None:
        pass


class TensorUnpickler(pickle.Unpickler):
    """An unpickler that finds tensors, ordered dicts and storages; every other name becomes Unknown."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) in TENSOR_PARTS or (module in ("torch", "torch.storage") and name.endswith("Storage")):
            return super().find_class(module, name)
        return Unknown


def read_published(path: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """path: a .pth or .pt of anybody's -> (name -> tensor on the CPU, what else the file says in plain types).

    Raises ValueError where the file holds no tensors or is damaged.
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
    """meta: what a file says beside its tensors -> "classes" and "palette" where it names them (mmengine's forms)."""
    inner = meta.get("meta", {})
    told = inner.get("dataset_meta", inner) if isinstance(inner, dict) else {}
    lower = {str(key).lower(): value for key, value in told.items()} if isinstance(told, dict) else {}
    return {key: lower[key] for key in ("classes", "palette") if lower.get(key)}


def _load(file: Any, **options: Any) -> Any:
    return TensorUnpickler(file, **options).load()


def _is_plain(value: Any) -> bool:
    if isinstance(value, dict):
        return all(_is_plain(inner) for inner in value.values())
    if isinstance(value, list | tuple):
        return all(_is_plain(inner) for inner in value)
    return isinstance(value, str | int | float | bool | None)
