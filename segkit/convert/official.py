"""Finds checkpoints in the format of another project that describe their network, and translates them."""

from types import ModuleType
from typing import Any

from segkit.convert import ritm_file

FORMATS: tuple[ModuleType, ...] = (ritm_file,)
"""Modules that each have is_official(content) -> bool and read_official(content) -> dict."""


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
