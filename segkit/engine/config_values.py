"""The values of a config with their origins, arguments that it leaves at their defaults included."""

from typing import Any

from segkit.config import Config
from segkit.engine.config_changes import defaults_at


def values(cfg: Config, with_defaults: bool = True) -> list[tuple[str, Any, str]]:
    """Lists the values of a config.

    Args:
        cfg: the checked sections.
        with_defaults: whether arguments that the config does not set are listed, too.

    Returns:
        Of each value the dotted path, the value, and its origin: a file, "--cfg-options" or "default".
    """
    rows: list[tuple[str, Any, str]] = []
    for section in cfg:
        _walk(cfg[section], section, section, cfg, with_defaults, rows)
    return rows


def _walk(value: Any, at: str, pattern: str, cfg: Config, with_defaults: bool, rows: list) -> None:
    if pattern == "test" and isinstance(value, dict) and value and "dataset" not in value:
        for name, inner in value.items():
            _walk(inner, f"{at}.{name}", "test.*", cfg, with_defaults, rows)
    elif isinstance(value, list | tuple) and any(isinstance(inner, dict) for inner in value):
        for i, inner in enumerate(value):
            _walk(inner, f"{at}.{i}", f"{pattern}[]", cfg, with_defaults, rows)
    elif isinstance(value, dict) and value:
        for key, inner in value.items():
            _walk(inner, f"{at}.{key}", f"{pattern}.{key}", cfg, with_defaults, rows)
        if with_defaults:
            rows.extend((f"{at}.{k}", v, "default") for k, v in defaults_at(value, pattern).items() if k not in value)
    else:
        rows.append((at, value, cfg.origin(at)))
