"""What differs between two configs: value by value, with default values where a config sets none."""

import dataclasses
import inspect
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from segkit.config import SECTIONS, plain_values
from segkit.registry import Registry
from segkit.schema import CLASS_WEIGHTS, DEFAULT_TYPES, PLAIN, TREE
from segkit.settings import RowSettings

UNSET = object()
"""Stands for a value that a config does not set and that has no default."""

MISSING_SECTIONS: dict[str, Any] = {"schedule": {"type": "Poly"}, "runner": {"type": "Semantic"}}
"""What sections mean that a config may leave out; the others are then empty."""


class Change(NamedTuple):
    """A value that two configs do not share.

    Attributes:
        path: in the config, "losses.0.weight".
        old, new: the values; UNSET where there is none.
    """

    path: str
    old: Any
    new: Any

    @property
    def pattern(self) -> str:
        """The path with [] for positions in lists, "losses[].weight"."""
        return re.sub(r"\.\d+(?=\.|$)", "[]", self.path)

    def __str__(self) -> str:
        return f"{self.path} {_shown(self.old)} -> {_shown(self.new)}"


def _shown(value: Any) -> str:
    if value is UNSET:
        return "not set"
    text = repr(plain_values(value))
    return text if len(text) <= 60 else f"{text[:40]} ... {text[-15:]}"


def defaults_at(value: Mapping[str, Any], pattern: str, registry: Registry | None = None) -> dict[str, Any]:
    """Returns the default values of the arguments at a position of a config.

    Args:
        value: the dict there.
        pattern: its position in PLAIN or TREE.
        registry: of its type, where the position is in neither.
    """
    if pattern in PLAIN:
        fields = dataclasses.fields(PLAIN[pattern])
        built = {f.name: f.default_factory() for f in fields if f.default_factory is not dataclasses.MISSING}
        return {f.name: f.default for f in fields if f.default is not dataclasses.MISSING} | built
    cls = class_at(value, pattern, registry)
    if cls is None:
        return {}
    supplied = TREE[pattern].supplied if pattern in TREE else ()
    parameters = inspect.signature(cls).parameters
    own = {n: p.default for n, p in parameters.items() if p.default is not p.empty and n not in supplied}
    return own | _beside_arguments(cls, pattern)


def _beside_arguments(cls: type, pattern: str) -> dict[str, Any]:
    """Defaults of keys that are no arguments of the class."""
    if pattern == "optimizer":
        return {"groups": (), "freeze": ""}
    if pattern != "losses[]":
        return {}
    fields = {field.name: field.default for field in dataclasses.fields(RowSettings) if field.name != "type"}
    return fields | getattr(cls, "row", {})  # a loss from outside segkit may be any module


def class_at(value: Mapping[str, Any], pattern: str, registry: Registry | None = None) -> type | None:
    """Returns the class that a dict of a config names; arguments as defaults_at."""
    registry = TREE[pattern].registry if pattern in TREE else registry
    name = value.get("type", DEFAULT_TYPES.get(pattern))
    return registry.get(name) if registry is not None and name is not None else None


def changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Change]:
    """Compares two configs.

    Args:
        old: a config out of a file: what it names is not looked up.
        new: the checked config of the user, whose classes give the defaults of both.

    Returns:
        What differs, in the order of the sections. A list of another length, and a dict of another type, is one change.
        Class weights by name are not compared with numbers.
    """
    found: list[Change] = []
    for name in SECTIONS:
        empty = MISSING_SECTIONS.get(name, [] if f"{name}[]" in TREE else {})
        before, after = (section.get(name) or empty for section in (old, new))
        if name in ("val", "test", "weighting", "init") and bool(before) != bool(after):
            found.append(Change(name, before or None, after or None))
        elif before or after:
            found += _differences(before, after, name, name, None)
    return found


def _differences(old: Any, new: Any, path: str, pattern: str, registry: Registry | None) -> Iterator[Change]:
    if isinstance(old, dict) and isinstance(new, dict):
        yield from _of_dicts(old, new, path, pattern, registry)
    elif isinstance(old, list | tuple) and isinstance(new, list | tuple):
        if len(old) == len(new) and any(isinstance(item, dict) for item in new):
            for i, (before, after) in enumerate(zip(old, new)):
                yield from _differences(before, after, f"{path}.{i}", f"{pattern}[]", registry)
        elif not _equal(old, new):
            yield Change(path, old, new)
    elif not _equal(old, new):
        is_law = path.rpartition(".")[2] in CLASS_WEIGHTS and isinstance(new, str) and isinstance(old, list | tuple)
        if not is_law:
            yield Change(path, old, new)


def _of_dicts(old: dict, new: dict, path: str, pattern: str, registry: Registry | None) -> Iterator[Change]:
    default_type = DEFAULT_TYPES.get(pattern, UNSET)
    types = [value.get("type", default_type) for value in (old, new)]
    if types[0] != types[1]:
        yield Change(f"{path}.type", *types)
        return
    is_named_sets = pattern == "test" and "dataset" not in new
    defaults = {} if is_named_sets else defaults_at(new, pattern, registry)
    cls = None if is_named_sets or pattern in PLAIN else class_at(new, pattern, registry)
    parts = {**getattr(cls, "parts", {}), **getattr(cls, "configs", {})}
    for key in dict.fromkeys([*old, *new]):
        if key != "type":
            before, after = (value.get(key, defaults.get(key, UNSET)) for value in (old, new))
            inner = f"{pattern}.{'*' if is_named_sets else key}"
            yield from _differences(before, after, f"{path}.{key}", inner, parts.get(key))


def _equal(old: Any, new: Any) -> bool:
    """Whether two values are the same once they are written to a file: paths are text there, tuples may be lists."""
    return _plain(old) == _plain(new)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, float) and value != value:
        return "nan"
    return value if value is UNSET else plain_values(value)
