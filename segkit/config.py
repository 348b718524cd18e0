"""Config files: Python or YAML, with bases, references, overrides and the origin of every value."""

import ast
import copy
import importlib.util
import re
import sys
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_type_hints

from segkit.files import DataError
from segkit.readers.python_config import read_python
from segkit.readers.short_forms import with_splits
from segkit.readers.yaml_file import read_yaml
from segkit.registry import ConfigError, did_you_mean
from segkit.settings import ScoredSettings

SECTIONS = (
    *("model", "init", "losses", "weighting", "train", "val", "test", "optimizer", "schedule", "loop"),
    *("inference", "metrics", "runner", "hooks"),
)
"""The sections that a config may have."""

PACKAGED = "segkit:"
"""Prefix of a packaged config's name: "segkit:_base_/models/unet_r34.py"."""

PACKAGE = Path(__file__).resolve().parent
PACKAGED_FOLDERS = (PACKAGE / "configs", PACKAGE.parent / "configs")
"""Where packaged configs lie: in the package where it is installed, else beside it, as in the repository."""

SUFFIXES = (".py", ".yaml", ".yml")

_folders_of_configs: set[Path] = set()
"""Folders that this process has put on the import path for the configs in them."""


@dataclass(frozen=True)
class Ref:
    """A reference to another value of the config by its dotted path; written ref("a.b")."""

    path: str

    def __repr__(self) -> str:
        return f'ref("{self.path}")'


def ref(path: str) -> Any:
    """Stands for the value at another dotted path of the config, looked up after bases and overrides are merged."""
    return Ref(path)


class Config(dict):
    """A resolved config: a plain dict of sections that knows its file and where each value came from.

    Args:
        sections: values by the name of the section.
        file: the config file as the user named it, "" where there is none.
        origins: of each dotted path the file that set it, or "--cfg-options"; a missing path inherits from its parent.
    """

    def __init__(self, sections: dict, file: str = "", origins: dict[str, str] | None = None):
        super().__init__(sections)
        self.file = file
        self.origins = origins or {}

    def origin(self, path: str) -> str:
        """Returns the file or option that set the value at a dotted path."""
        while path:
            if path in self.origins:
                return self.origins[path]
            path = path.rpartition(".")[0]
        return self.file


def load_config(path: str | Path, options: tuple[str, ...] | list[str] = ()) -> Config:
    """Reads a config file with its bases, overrides and references.

    The file's folder goes to the end of Python's import path, so that `type="my_sets:Mine"` finds my_sets.py beside the
    config, now and while the config is used. The folders of its bases go there too, except those of packaged configs.

    Args:
        path: a .py, .yaml or .yml file, or the name of a packaged config, "segkit:quickstart/semantic.py".
        options: "a.b=value" strings that win over the files.

    Returns:
        The resolved config, which knows the origin of each value.

    Raises:
        ConfigError: a missing file, a syntax error, a name that is neither a section nor used by a ref(), a reference
            to nothing, two bases that set the same value, or a module beside the config that has the name of one
            beside another config of this process.
    """
    used: set[str] = set()
    file = find_config(path)
    merged, origins = _load_file(file, (), used)
    for option in options:
        set_option(merged, origins, option)
    resolved = {key: _resolve(value, merged, key, (), used) for key, value in merged.items()}
    for key in merged:
        if key not in SECTIONS and key not in used:
            own = (_shown(file), str(path), "--cfg-options")
            raise ConfigError(_unused(key, origins.get(key, str(path)), own, [*SECTIONS, *used]))
    sections = with_test_set({key: value for key, value in resolved.items() if key in SECTIONS})
    sections = with_splits(sections, origins)
    _refuse_hidden_modules(sections, file.parent, "")
    return Config(sections, str(path), origins)


def _unused(key: str, origin: str, own: Collection[str], known: Collection[str]) -> str:
    """Says that nothing reads a name, and the way out; own: origins that are no bases, known: names that are read."""
    if key == "num_classes":
        way = "; write num_classes=ref('num_classes') in section model, or add a base of segkit:_base_/models"
    elif origin not in own:
        way = f"; write ref('{key}') where its value belongs, or take this file out of _base_"
    else:
        way = did_you_mean(key, known) or f"; remove it, or write _{key} for a name that the file alone uses"
    return f"{origin}: '{key}' is no section and no ref() uses it{way}"


def find_config(name: str | Path, asker: Path | None = None) -> Path:
    """Finds the file of a config name.

    Args:
        name: a path, relative to the folder of the file that asks or else to the working directory; or "segkit:" and
            the path of a packaged config.
        asker: the config file whose `_base_` holds the name; None for a name that the user typed.

    Returns:
        The absolute path of a file that exists.

    Raises:
        ConfigError: there is no such file. The message names each place that was tried, the asker and a close name.
    """
    text = str(name)
    if text.startswith(PACKAGED):
        folders = PACKAGED_FOLDERS[:1] if PACKAGED_FOLDERS[0].is_dir() else PACKAGED_FOLDERS
        candidates = [folder / text.removeprefix(PACKAGED) for folder in folders]
    else:
        candidates = [(asker.parent / text).resolve() if asker else Path(text).absolute()]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    subject = f"{_shown(asker)}: its _base_ '{text}'" if asker else text
    places = " and ".join(str(candidate) for candidate in candidates)
    raise ConfigError(f"{subject}: no such config file; looked at {places}{_near_config(text, candidates[0].parent)}")


def _near_config(name: str, folder: Path) -> str:
    """The end of the error's sentence: a close name in the folder, or among the packaged configs."""
    if not name.startswith(PACKAGED):
        here = [path.name for path in folder.glob("*") if path.suffix in SUFFIXES]
        if hint := did_you_mean(Path(name).name, here):
            return hint
    root = packaged_folder()
    known = [f"{PACKAGED}{path.relative_to(root).as_posix()}" for path in root.rglob("*.py")]
    inner = name.removeprefix(PACKAGED)
    while inner.startswith(("../", "./", "configs/")):
        inner = inner.partition("/")[2]
    hint = did_you_mean(f"{PACKAGED}{inner}", known) if "/" in inner else ""
    return hint if name.startswith(PACKAGED) else f"; packaged configs are named '{PACKAGED}FOLDER/NAME.py'{hint}"


def packaged_folder() -> Path:
    """The folder of the packaged configs."""
    return next((folder for folder in PACKAGED_FOLDERS if folder.is_dir()), PACKAGED_FOLDERS[0])


def _is_packaged(path: Path) -> bool:
    return path.is_relative_to(packaged_folder())


def _import_from(folder: Path) -> None:
    """Puts a folder at the end of the import path, once: its modules hide no others. Worker processes inherit it."""
    _folders_of_configs.add(folder)
    if str(folder) not in sys.path:
        sys.path.append(str(folder))


def _refuse_hidden_modules(value: Any, folder: Path, at: str) -> None:
    """An error for a "module:Class" whose module lies beside this config, and beside another that was read before."""
    for key, inner in value.items() if isinstance(value, dict) else ():
        _refuse_hidden_modules(inner, folder, f"{at}.{key}" if at else str(key))
    for position, inner in enumerate(value if isinstance(value, list | tuple) else ()):
        _refuse_hidden_modules(inner, folder, f"{at}.{position}")
    if not (isinstance(value, str) and re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", value)):
        return
    name = re.split("[.:]", value)[0]
    beside = [file for file in (folder / f"{name}.py", folder / name / "__init__.py") if file.is_file()]
    if not beside:
        return
    loaded = sys.modules.get(name)
    source = getattr(loaded, "__file__", None) if loaded else getattr(importlib.util.find_spec(name), "origin", None)
    in_use = Path(source or beside[0])
    is_of_another_config = bool(_folders_of_configs & {in_use.parent, in_use.parent.parent})
    if is_of_another_config and in_use.resolve() != beside[0].resolve():
        raise ConfigError(
            f"{at} = '{value}': {beside[0]} has the name of {in_use}, beside another config, which this process uses "
            "already; rename one of the two"
        )


def _load_file(path: Path, above: tuple[Path, ...], used: set[str]) -> tuple[dict, dict[str, str]]:
    """Values of the file merged over those of its bases, and the file that each leaf came from.

    above: files whose bases lead here; used: takes the first names of all ref() of these files, also of those that a
    later file replaces.
    """
    if path in above:
        raise ConfigError(f"{_shown(path)}: is a base of itself through {' -> '.join(_shown(p) for p in above)}")
    if not (above and _is_packaged(path)):
        _import_from(path.parent)
    content = _read(path)
    bases = content.pop("_base_", [])
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for base in [bases] if isinstance(bases, str) else bases:
        base_values, base_origins = _load_file(find_config(base, path), (*above, path), used)
        _refuse_conflicts(values, origins, base_values, base_origins, path)
        _merge(values, origins, base_values, base_origins, "")
    content = {key: value for key, value in content.items() if not key.startswith("_")}
    _note_refs(content, used)
    _merge(values, origins, content, {leaf: _shown(path) for leaf in _leaves(content)}, "")
    return values, origins


def _note_refs(value: Any, used: set[str]) -> None:
    if isinstance(value, Ref):
        used.add(value.path.split(".")[0])
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ():
        _note_refs(inner, used)


def _shown(path: Path) -> str:
    """The path as the user would type it: a packaged name, or relative to the working directory where it lies below."""
    full = path.resolve()
    for root, prefix in ((PACKAGED_FOLDERS[0], PACKAGED), (Path.cwd(), ""), (packaged_folder(), PACKAGED)):
        if full.is_relative_to(root):
            return prefix + full.relative_to(root).as_posix()
    return str(path)


def _read(path: Path) -> dict[str, Any]:
    if path.suffix in (".yaml", ".yml"):
        try:
            return _refs_from_text(read_yaml(path))
        except DataError as error:
            raise ConfigError(str(error)) from error
    return read_python(path, _shown(path), SECTIONS)


def _refs_from_text(value: Any) -> Any:
    """Replaces texts of the form ref(a.b), the references of YAML files, by Ref."""
    if isinstance(value, dict):
        return {key: _refs_from_text(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_refs_from_text(inner) for inner in value]
    found = re.fullmatch(r"ref\(['\"]?([\w.]+)['\"]?\)", value) if isinstance(value, str) else None
    return Ref(found[1]) if found else value


def _leaves(values: dict, prefix: str = "") -> list[str]:
    """Dotted paths of all values that are no dicts; an empty dict is a leaf, too."""
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
                "remove it from one of them, or set it in a base that both share"
            )


def _merge(values: dict, origins: dict, new: dict, new_origins: dict, prefix: str) -> None:
    """Merges new over values in place: dicts are merged, other values and dicts of another `type` are replaced."""
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
    """Sets one value of a config in place.

    Args:
        values: the sections.
        origins: see Config; the value's origin becomes "--cfg-options".
        option: "a.b.0.c=value", where the value is a Python literal or text.

    Raises:
        ConfigError: the option has another form, or names a position that does not exist.
    """
    path, equals, text = option.partition("=")
    if not equals or not path:
        raise ConfigError(f"--cfg-options {option}: expected a.b=value")
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        value = {"true": True, "false": False, "none": None, "null": None}.get(text.lower(), text)
    *parents, last = path.split(".")
    node: Any = values
    for depth, name in enumerate(parents):
        node = _child(node, name, ".".join(parents[: depth + 1]), option)
    if isinstance(node, list):
        _child(node, last, path, option)
        node[int(last)] = value
        origins[path] = "--cfg-options"
        return
    if not isinstance(node, dict):
        raise ConfigError(f"--cfg-options {option}: '{'.'.join(parents)}' is {node!r}, which has no '{last}'")
    new = {last: value}
    leaves = {f"{prefix}{leaf}": "--cfg-options" for prefix in [path[: -len(last)]] for leaf in _leaves(new)}
    _merge(node, origins, new, leaves, path[: -len(last)])


def _child(node: Any, name: str, path: str, option: str) -> Any:
    """The element of a list, or the value of a dict, which is added where it is missing; path: of that value."""
    if isinstance(node, tuple | list):
        if not name.isdigit() or int(name) >= len(node):
            raise ConfigError(f"--cfg-options {option}: '{path}': this list has the positions 0..{len(node) - 1}")
        return node[int(name)]
    if not isinstance(node, dict):
        raise ConfigError(f"--cfg-options {option}: nothing can be set at '{path}': {node!r} is no dict and no list")
    return node.setdefault(name, {})


def _resolve(value: Any, root: dict, at: str, chain: tuple[str, ...], used: set[str]) -> Any:
    """A copy of a value with every reference replaced by the value that it names; chain: references that led here."""
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
    for name in path.split("."):
        if isinstance(node, dict) and name in node:
            node = node[name]
        elif isinstance(node, list | tuple) and name.isdigit() and int(name) < len(node):
            node = node[int(name)]
        else:
            hint = did_you_mean(name, node if isinstance(node, dict) else ())
            raise ConfigError(f"{at} = ref('{path}'): the config has no '{path}'{hint}")
    return node


def merged(values: Any, new: Any) -> Any:
    """Returns values with new over them: dicts are merged, other values and dicts of another `type` are replaced."""
    are_dicts = isinstance(values, dict) and isinstance(new, dict)
    if not are_dicts or new.get("type", values.get("type")) != values.get("type"):
        return copy.deepcopy(new)
    return {**values, **{key: merged(values.get(key), value) for key, value in new.items()}}


def plain_values(value: Any) -> Any:
    """Converts a value to dicts, lists, tuples and scalars, so that a file with it is read without executing code.

    Anything else becomes text.
    """
    if isinstance(value, dict):
        return {plain_values(key): plain_values(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(plain_values(inner) for inner in value)
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def with_test_set(sections: dict) -> dict:
    """Returns the sections; a `test` that names no type of data set has val's, with single arguments changed."""
    test, val = sections.get("test"), sections.get("val")
    keys = get_type_hints(ScoredSettings).keys()
    if not isinstance(test, dict) or not isinstance(val, dict) or not test.keys() <= keys:
        return sections  # also of several named sets
    changes, dataset = test.get("dataset", {}), val.get("dataset")
    if test and isinstance(changes, dict) and isinstance(dataset, dict) and "type" not in changes:
        return {**sections, "test": {**test, "dataset": {**dataset, **changes}}}
    return sections
