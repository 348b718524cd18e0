"""Finds checkpoints in the format of another project that describe their network, and translates them."""

from pathlib import Path
from types import ModuleType
from typing import Any

from segkit.convert import focalclick_file, plainvit_file, ritm_file
from segkit.readers.torch_file import read_torch

FORMATS: tuple[ModuleType, ...] = (plainvit_file, focalclick_file, ritm_file)
"""Modules that each have is_official(content) -> bool, read_official(content) -> dict, and HAS_OBJECTS: bool."""


def read_official(content: object) -> dict[str, Any] | None:
    """Translates the content of a file that has the format of another project.

    Args:
        content: the unpickled file, plain types and tensors.

    Returns:
        The content of a checkpoint of segkit, with "source", the name of the key map; None for every other content.

    Raises:
        ConfigError: the file describes a network that segkit does not know, or its description is damaged.
    """
    for reader in FORMATS:
        if reader.is_official(content):
            return reader.read_official(content)
    return None


def read_beside_objects(path: str | Path) -> dict[str, Any] | None:
    """Translates a file of a format that also holds objects of other classes; these are left out, never loaded.

    Args:
        path: a file of torch.save.

    Returns:
        As read_official; None for files of all other formats.

    Raises:
        ConfigError: as of read_official.
        DataError: the file is damaged.
    """
    content = read_torch(path, lenient=True)
    for reader in FORMATS:
        if reader.HAS_OBJECTS and reader.is_official(content):
            return reader.read_official(content)
    return None
