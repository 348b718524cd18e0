"""Checkpoints in the own format of another project, which describes its network: found by their content."""

from types import ModuleType
from typing import Any

from segkit.convert import ritm_file

FORMATS: tuple[ModuleType, ...] = (ritm_file,)
"""Modules that each have is_official(content) -> bool and read_official(content) -> dict."""


def read_official(content: Any) -> dict[str, Any] | None:
    """Translates what a file holds where it has the format of another project.

    Args:
        content: the unpickled file, plain types and tensors.

    Returns:
        What a checkpoint of segkit holds, with "source", the name of the key map; None for every other content.

    Raises:
        ConfigError: the file describes a network that segkit does not know, or its description is damaged.
    """
    for reader in FORMATS:
        if reader.is_official(content):
            return reader.read_official(content)
    return None
