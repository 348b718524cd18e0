"""Config files: Python or YAML, with bases, references, overrides and the origin of every value."""

import ast
import copy
import re
import types
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segkit.registry import ConfigError, did_you_mean

SECTIONS = (
    *("model", "init", "losses", "weighting", "train", "val", "test", "optimizer", "schedule", "loop"),
    *("inference", "metrics", "runner", "hooks"),
)


@dataclass(frozen=True)
class Ref:
    """A reference to another value of the config by its dotted path; written ref("a.b")."""

    path: str

    def __repr__(self) -> str:
        return f'ref("{self.path}")'


def ref(path: str) -> Any:
    """The value at another dotted path of the config, looked up after bases and overrides are merged."""
    return Ref(path)


class Config(dict):
    """A resolved config: a plain dict of sections that knows its file and where each value came from.

    origins: dotted path -> file or "--cfg-options"; a missing path inherits from its parent.
    """

    def __init__(self, sections: dict, file: str = "", origins: dict[str, str] | None = None):
        super().__init__(sections)
        self.file = file
        self.origins = origins or {}

    def origin(self, path: str) -> str:
        """The file or option that set the value at the dotted path."""
        while path:
            if path in self.origins:
                return self.origins[path]
            path = path.rpartition(".")[0]
        return self.file


def load_config(path: str | Path, options: tuple[str, ...] | list[str] = ()) -> Config:
    """path: a .py, .yaml or .yml file; options: "a.b=value" strings that win over the files -> the resolved config.

    Raises ConfigError for a missing file, a syntax error, a name that is neither a section nor used by a ref(), a
    reference to nothing, and two bases that set the same value.
    """
    used: set[str] = set()
    merged, origins = _load_file(Path(path), (), used)
    for option in options:
        set_option(merged, origins, option)
    resolved = {key: _resolve(value, merged, key, (), used) for key, value in merged.items()}
    for key in merged:
        if key not in SECTIONS and key not in used:
            hint = did_you_mean(key, [*SECTIONS, *used])
            raise ConfigError(f"{origins.get(key, path)}: '{key}' is no section and no ref() uses it{hint}")
    sections = {key: value for key, value in resolved.items() if key in SECTIONS}
    return Config(sections, str(path), origins)


def _load_file(path: Path, above: tuple[Path, ...], used: set[str]) -> tuple[dict, dict[str, str]]:
    """-> values of the file merged over those of its bases, and the file each leaf came from.

    used: takes the names that some ref() of these files is about, also where a later file replaces that place.
    """
    if path in above:
        raise ConfigError(f"{path}: is a base of itself through {' -> '.join(str(p) for p in above)}")
    own = _read(path)
    bases = own.pop("_base_", [])
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for base in [bases] if isinstance(bases, str) else bases:
        base_values, base_origins = _load_file((path.parent / base).resolve(), (*above, path), used)
        _refuse_conflicts(values, origins, base_values, base_origins, path)
        _merge(values, origins, base_values, base_origins, "")
    own = {key: value for key, value in own.items() if not key.startswith("_")}
    _note_refs(own, used)
    _merge(values, origins, own, {leaf: _shown(path) for leaf in _leaves(own)}, "")
    return values, origins


def _note_refs(value: Any, used: set[str]) -> None:
    if isinstance(value, Ref):
        used.add(value.path.split(".")[0])
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ():
        _note_refs(inner, used)


def _shown(path: Path) -> str:
    """The path as the user would type it: relative to the working directory where it lies below."""
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        near = did_you_mean(path.name, [p.name for p in path.parent.glob("*") if p.suffix in (".py", ".yaml", ".yml")])
        raise ConfigError(f"{_shown(path)}: no such config file{near}")
    text = path.read_text()
    if path.suffix in (".yaml", ".yml"):
        import yaml

        try:
            return _refs_from_text(yaml.safe_load(text) or {})
        except yaml.YAMLError as error:
            raise ConfigError(f"{_shown(path)}: {error}") from error
    names: dict[str, Any] = {"__file__": str(path), "__name__": "segkit_config"}
    try:
        exec(compile(text, str(path), "exec"), names)
    except ConfigError:
        raise
    except Exception as error:
        line = getattr(error, "lineno", None) or _line_in(error, path)
        raise ConfigError(f"{_shown(path)}:{line}: {type(error).__name__}: {error}") from error
    kinds = (types.ModuleType, types.FunctionType, types.BuiltinFunctionType, type)
    return {k: v for k, v in names.items() if not k.startswith("__") and not isinstance(v, kinds)}


def _line_in(error: Exception, path: Path) -> int:
    line, trace = 0, error.__traceback__
    while trace:
        if trace.tb_frame.f_code.co_filename == str(path):
            line = trace.tb_lineno
        trace = trace.tb_next
    return line


def _refs_from_text(value: Any) -> Any:
    """YAML writes a reference as the text ref(a.b)."""
    if isinstance(value, dict):
        return {key: _refs_from_text(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_refs_from_text(inner) for inner in value]
    found = re.fullmatch(r"ref\(['\"]?([\w.]+)['\"]?\)", value) if isinstance(value, str) else None
    return Ref(found[1]) if found else value


def _leaves(values: dict, prefix: str = "") -> list[str]:
    """Dotted paths of everything that is no dict; an empty dict is a leaf."""
    paths = []
    for key, value in values.items():
        here = f"{prefix}{key}"
        paths += _leaves(value, f"{here}.") if isinstance(value, dict) and value else [here]
    return paths


def _refuse_conflicts(values: dict, origins: dict, new: dict, new_origins: dict, path: Path) -> None:
    old = set(_leaves(values))
    for leaf in _leaves(new):
        if leaf in old and origins.get(leaf) != new_origins.get(leaf):
            raise ConfigError(
                f"{_shown(path)}: its bases {origins.get(leaf)} and {new_origins.get(leaf)} both set '{leaf}'; "
                "set it in one of them, or in this file's own base"
            )


def _merge(values: dict, origins: dict, new: dict, new_origins: dict, prefix: str) -> None:
    """Merges new over values in place: dicts merge, all else replaces, another `type` starts afresh."""
    for key, value in new.items():
        here = f"{prefix}{key}"
        old = values.get(key)
        if isinstance(value, dict) and isinstance(old, dict) and value.get("type", old.get("type")) == old.get("type"):
            _merge(old, origins, value, new_origins, f"{here}.")
            continue
        for leaf in [leaf for leaf in origins if leaf == here or leaf.startswith(f"{here}.")]:
            del origins[leaf]
        values[key] = copy.deepcopy(value)
        origins |= {k: v for k, v in new_origins.items() if k == here or k.startswith(f"{here}.")}


def set_option(values: dict, origins: dict, option: str) -> None:
    """Sets one "a.b.0.c=value" in place; the value is a Python literal or text."""
    path, equals, text = option.partition("=")
    if not equals or not path:
        raise ConfigError(f"--cfg-options {option}: expected a.b=value")
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        value = {"true": True, "false": False, "none": None, "null": None}.get(text.lower(), text)
    *parents, last = path.split(".")
    node: Any = values
    for depth, part in enumerate(parents):
        node = _child(node, part, ".".join(parents[: depth + 1]), option)
    if isinstance(node, list):
        _child(node, last, path, option)
        node[int(last)] = value
        origins[path] = "--cfg-options"
        return
    if not isinstance(node, dict):
        raise ConfigError(f"--cfg-options {option}: '{'.'.join(parents)}' holds {node!r}, which has no '{last}'")
    new = {last: value}
    leaves = {f"{prefix}{leaf}": "--cfg-options" for prefix in [path[: -len(last)]] for leaf in _leaves(new)}
    _merge(node, origins, new, leaves, path[: -len(last)])


def _child(node: Any, part: str, path: str, option: str) -> Any:
    if isinstance(node, tuple | list):
        if not part.isdigit() or int(part) >= len(node):
            raise ConfigError(f"--cfg-options {option}: '{path}': this list has the positions 0..{len(node) - 1}")
        return node[int(part)]
    if not isinstance(node, dict):
        raise ConfigError(f"--cfg-options {option}: nothing to set below '{path}'")
    return node.setdefault(part, {})


def _resolve(value: Any, root: dict, at: str, chain: tuple[str, ...], used: set[str]) -> Any:
    """-> a copy of the value with every reference replaced by what it names."""
    if isinstance(value, Ref):
        if value.path in chain:
            raise ConfigError(f"{at}: ref() goes in a circle: {' -> '.join((*chain, value.path))}")
        used.add(value.path.split(".")[0])
        return _resolve(_look_up(root, value.path, at), root, at, (*chain, value.path), used)
    if isinstance(value, dict):
        return {key: _resolve(inner, root, f"{at}.{key}", chain, used) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_resolve(inner, root, f"{at}.{i}", chain, used) for i, inner in enumerate(value))
    return value


def _look_up(root: dict, path: str, at: str) -> Any:
    node: Any = root
    for part in path.split("."):
        if isinstance(node, dict) and part in node:
            node = node[part]
        elif isinstance(node, list | tuple) and part.isdigit() and int(part) < len(node):
            node = node[int(part)]
        else:
            hint = did_you_mean(part, node if isinstance(node, dict) else ())
            raise ConfigError(f"{at} = ref('{path}'): the config has no '{path}'{hint}")
    return node


def dump(cfg: dict) -> str:
    """The sections as the text of a Python config file that loads back to the same values."""
    import pprint

    parts = [f"{key} = {pprint.pformat(value, width=118, sort_dicts=False)}" for key, value in cfg.items()]
    return "\n\n".join(parts) + "\n"


def merged(values: Any, new: Any) -> Any:
    """-> values with new over them: dicts merge, all else replaces, another `type` starts afresh."""
    both = isinstance(values, dict) and isinstance(new, dict)
    if not both or new.get("type", values.get("type")) != values.get("type"):
        return copy.deepcopy(new)
    return {**values, **{key: merged(values.get(key), value) for key, value in new.items()}}


def plain_values(value: Any) -> Any:
    """Dicts, lists and scalars only, so that the file reads back without executing code."""
    if isinstance(value, dict):
        return {plain_values(key): plain_values(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(plain_values(inner) for inner in value)
    return value if isinstance(value, str | int | float | bool | None) else str(value)
