"""Reads the tensors of a published checkpoint, even if its pickle names unknown classes; executes nothing."""

from pathlib import Path
from typing import Any

from torch import Tensor

from segkit.files import DataError, check_plain, shortened
from segkit.readers.torch_file import read_torch

STATE_KEYS = ("state_dict", "model_state", "segmentor", "model", "net", "module")
"""Keys under which checkpoints hold their state dict; the first present one counts."""


def read_published(path: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Reads a published checkpoint.

    Args:
        path: a .pth or .pt file of any project.

    Returns:
        Tensors on the CPU by name, the prefix "module." removed; and the file's other entries of plain types.

    Raises:
        DataError: the file holds no tensors or is damaged.
    """
    content = read_torch(path, lenient=True)
    if not isinstance(content, dict):
        raise DataError(f"{path}: holds a {type(content).__name__}, not a checkpoint")
    inner = next((content[key] for key in STATE_KEYS if isinstance(content.get(key), dict)), content)
    weights = {str(key): value.detach() for key, value in inner.items() if isinstance(value, Tensor)}
    if not weights:
        keys = ", ".join(shortened(key, 60) for key in list(content)[:8])
        raise DataError(f"{path}: holds no tensors; its keys are {keys}")
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
    return {key: lower[key] for key in ("classes", "palette") if lower.get(key) and _is_plain(lower[key])}


def _is_plain(value: object) -> bool:
    try:
        check_plain(value, "")
    except DataError:
        return False
    return True
