"""Configs in Python: the file runs, and its names are the sections; and the text of such a file."""

import math
import os
import types
from pathlib import Path
from typing import Any

from segkit.files import CONFIG_BYTES, read_text
from segkit.registry import ConfigError

HELPERS = (types.ModuleType, types.FunctionType, types.BuiltinFunctionType, type)
"""Kinds of names that a config may use and that are no values of it."""


def read_python(path: Path, shown: str, sections: tuple[str, ...]) -> dict[str, Any]:
    """Runs a config file of the user.

    Args:
        path: the file.
        shown: its name for errors.
        sections: names that must be values.

    Returns:
        The values of its names; imports, functions and classes are left out.

    Raises:
        ConfigError: the file cannot be read, ends in an error, or a section is a module or function.
    """
    text = read_text(path, CONFIG_BYTES, ConfigError)
    names: dict[str, Any] = {"__file__": str(path), "__name__": "segkit_config"}
    try:
        exec(compile(text, str(path), "exec"), names)
    except (ConfigError, KeyboardInterrupt):
        raise
    except BaseException as error:  # SystemExit too: a config that ends the program says nothing to the user
        line = getattr(error, "lineno", None) or _line_in(error, path)
        text = error.msg if isinstance(error, SyntaxError) else str(error)
        raise ConfigError(f"{shown}:{line}: {type(error).__name__}: {text}") from error
    for name in sections:
        if isinstance(names.get(name), HELPERS):
            kind = "module" if isinstance(names[name], types.ModuleType) else "function or class"
            raise ConfigError(f"{shown}: '{name}' is a section of configs, and a {kind} here; give it another name")
    return {k: v for k, v in names.items() if not k.startswith("__") and not isinstance(v, HELPERS)}


def _line_in(error: BaseException, path: Path) -> int:
    """The last line of the file that the error came through."""
    line, trace = 0, error.__traceback__
    while trace:
        if trace.tb_frame.f_code.co_filename == str(path):
            line = trace.tb_lineno
        trace = trace.tb_next
    return line


def dump(cfg: dict) -> str:
    """Returns the text of a Python config file that loads back to the same sections."""
    import pprint

    sections = [f"{key} = {pprint.pformat(_literal(value), width=118, sort_dicts=False)}" for key, value in cfg.items()]
    return "\n\n".join(sections) + "\n"


class _Number(float):
    """An infinite number or NaN, which Python has no literal for."""

    def __repr__(self) -> str:
        return f"float('{float.__repr__(self)}')"


def _literal(value: Any) -> Any:
    """The value in types whose text reads back: paths are texts, numbers of numpy plain ones."""
    if isinstance(value, dict):
        return {key: _literal(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_literal(inner) for inner in value)
    if isinstance(value, float) and not math.isfinite(value):
        return _Number(value)
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    return value.item() if hasattr(value, "item") and getattr(value, "ndim", 1) == 0 else value
