"""Configs in YAML: no tags of Python, and aliases that stay below the size of any config."""

from pathlib import Path
from typing import Any

from segkit.files import CONFIG_BYTES, DataError, check_plain, read_text, shortened


def read_yaml(path: Path) -> dict[str, Any]:
    """Reads the sections of a YAML file.

    Args:
        path: the file.

    Raises:
        DataError: it is missing, no YAML, or no mapping of names; or it is too large, with aliases in full.
    """
    import yaml

    text = read_text(path, CONFIG_BYTES)
    try:
        content = yaml.safe_load(text) or {}
    except Exception as error:  # numbers and dates out of range, and lists in lists without end, are no YAMLError
        reason = "nested too deeply" if isinstance(error, RecursionError) else shortened(error, 500)
        raise DataError(f"{path}: {reason}") from error
    check_plain(content, str(path))
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise DataError(f"{path}: a config is a mapping of sections by name")
    return content
