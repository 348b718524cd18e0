"""Reads the tensors of a published checkpoint, even if its pickle names unknown classes; executes nothing."""

from pathlib import Path
from typing import Any

from torch import Tensor

from segkit.files import DataError, check_plain
from segkit.readers.state_dict import plain_names, weights_in
from segkit.readers.torch_file import read_torch


def read_published(path: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Reads a published checkpoint.

    Args:
        path: a .pth or .pt file of any project.

    Returns:
        Tensors on the CPU by name, without what wrappers put before names; and the file's other entries of plain types.

    Raises:
        DataError: the file holds no tensors or is damaged.
    """
    content = read_torch(path, lenient=True)
    if not isinstance(content, dict):
        raise DataError(f"{path}: holds a {type(content).__name__}, not a checkpoint")
    weights = {name: value.detach() for name, value in weights_in(content, path).items()}
    return plain_names(weights), {str(key): value for key, value in content.items() if _is_plain(value)}


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
