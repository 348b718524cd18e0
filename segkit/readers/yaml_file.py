"""Configs in YAML 1.2: no tags of Python, no doubled keys, aliases below the size of a config.

PyYAML alone reads 1.1, where `off` is False, `1e-3` is text, `010` is eight and `12:30` is 750.
"""

import re
from functools import cache
from pathlib import Path
from typing import Any

from segkit.files import CONFIG_BYTES, DataError, check_plain, read_text, shortened

TAG = "tag:yaml.org,2002:"

SCALARS = (
    ("null", r"~|null|Null|NULL|", "~nN\0"),
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789"),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", "-+.0123456789"),
    ("float", r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", "-+."),
    ("merge", r"<<", "<"),
)
"""Names of types, what their plain scalars look like, and the characters that they begin with: YAML 1.2.2, section
10.3.2 (core schema), and the merge key of 1.1, which many files use. The first that fits wins."""


def read_yaml(path: Path) -> dict[str, Any]:
    """Reads the sections of a YAML file.

    Args:
        path: the file.

    Raises:
        DataError: it is missing, no YAML, or no mapping of names; a key stands twice; or it is too large, with aliases
            in full.
    """
    import yaml

    text = read_text(path, CONFIG_BYTES)
    try:
        content = yaml.load(text, _loader()) or {}  # a safe loader with other scalars
    except Exception as error:  # numbers out of range, and lists in lists without end, are no YAMLError
        reason = "nested too deeply" if isinstance(error, RecursionError) else shortened(error, 500)
        raise DataError(f"{path}: {reason}") from error
    check_plain(content, str(path))
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise DataError(f"{path}: a config is a mapping of sections by name")
    return content


@cache
def _loader() -> type:
    """PyYAML's safe loader with the scalars of YAML 1.2, and an error for a doubled key."""
    import yaml

    class Loader(yaml.SafeLoader):
        yaml_implicit_resolvers: dict[str, list] = {}

    for name, pattern, starts in SCALARS:
        first = ["" if letter == "\0" else letter for letter in starts]
        Loader.add_implicit_resolver(f"{TAG}{name}", re.compile(f"^(?:{pattern})$"), first)
    Loader.add_constructor(f"{TAG}int", _whole_number)
    Loader.add_constructor(f"{TAG}map", _mapping)
    return Loader


def _whole_number(loader: Any, node: Any) -> int:
    text = loader.construct_scalar(node)
    return int(text, 16 if text.startswith("0x") else 8 if text.startswith("0o") else 10)


def _mapping(loader: Any, node: Any) -> Any:
    """A mapping, first empty and then filled, so that aliases may point into it."""
    import yaml

    seen: dict[object, int] = {}
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode) or key.tag == f"{TAG}merge":
            continue
        line = key.start_mark.line + 1
        if (key.tag, key.value) in seen:
            first = seen[key.tag, key.value]
            raise DataError(f"line {line}: '{key.value}' stands here and in line {first}; remove one of them")
        seen[key.tag, key.value] = line
    values: dict = {}
    yield values
    loader.flatten_mapping(node)
    values.update(loader.construct_mapping(node))
