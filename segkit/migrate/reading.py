"""Reads config files of mmengine's form as data: literals, dict(...), bases, variables and simple arithmetic.

Nothing in such a file runs. What is more than data is refused with its line.
"""

import ast
import copy
import operator
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from segkit.files import CONFIG_BYTES, read_text
from segkit.registry import ConfigError, did_you_mean

MOST = 100_000
"""Items of a list and digits of a number that a file may compute."""

MOST_STEPS = 20 * MOST
"""Expressions that are evaluated for one file, with the items of lists and the letters of texts that they make."""

MOST_FILES = 100
"""Files that a config may be made of."""

OPERATIONS: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}

FUNCTIONS: dict[str, Callable[..., Any]] = {
    "int": int,
    "float": float,
    "round": round,
    "len": len,
    "min": min,
    "max": max,
    "sum": sum,
    "list": list,
    "tuple": tuple,
    "range": range,
    "enumerate": lambda items: list(enumerate(items)),
}
"""Functions of numbers and lists that a file may call beside dict()."""

BASE_VALUE = re.compile(r"\{\{\s*_base_\.([\w.]+)\s*\}\}")


def read(path: Path) -> dict[str, Any]:
    """Reads a config with its bases.

    Args:
        path: a .py file. Its bases lie in the folder that holds `_base_` (the nearest above the file), or where there
            is none in the folder of the file.

    Returns:
        The values of its names, merged over those of its bases: dicts are merged, `_delete_=True` replaces, every other
        value replaces.

    Raises:
        ConfigError: the file or a base cannot be read, lies outside of that folder, or holds more than data.
    """
    file = path.resolve()
    root = next((folder for folder in file.parents if (folder / "_base_").is_dir()), file.parent)
    return _without_marks(_read(file, root, ()))


def _read(path: Path, root: Path, above: tuple[Path, ...]) -> dict[str, Any]:
    """Values of a file over those of its bases, `_delete_` still in place where nothing was below it."""
    if path in above or len(above) > MOST_FILES:
        raise ConfigError(f"{path}: is a base of itself through {' -> '.join(p.name for p in (*above, path))}")
    text = read_text(path, CONFIG_BYTES, ConfigError)
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        line = getattr(error, "lineno", None) or 1
        raise ConfigError(f"{path}:{line}: is not Python ({type(error).__name__}); name a config file") from error
    bases: dict[str, Any] = {}
    for name in _bases(tree, path):
        values = _read(_find(name, path, root), root, (*above, path))
        if twice := sorted(bases.keys() & values.keys()):
            raise ConfigError(f"{path}: two of its bases set '{twice[0]}'; remove it from one of them")
        bases |= values
    try:
        return over(bases, _File(path, bases).values(tree))
    except RecursionError as error:
        raise ConfigError(f"{path}: is nested too deeply to be read; write its values flat") from error


def _bases(tree: ast.Module, path: Path) -> list[str]:
    """The names in `_base_`, a literal."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "_base_":
            try:
                names = ast.literal_eval(node.value)
            except (ValueError, TypeError, SyntaxError) as error:
                raise ConfigError(f"{path}:{node.lineno}: _base_ must be a text or a list of texts") from error
            names = [names] if isinstance(names, str) else names
            if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
                raise ConfigError(f"{path}:{node.lineno}: _base_ must be a text or a list of texts")
            return list(names)
    return []


def _find(name: str, asker: Path, root: Path) -> Path:
    """The file of a base, which lies in the folder of the configs."""
    file = (asker.parent / name).resolve()
    if "::" in name or "://" in name:
        raise ConfigError(f"{asker}: its base '{name}' lies in another package; copy the file into {root} and name it")
    if file.suffix != ".py" or not file.is_relative_to(root):
        raise ConfigError(f"{asker}: its base '{name}' is no .py file in {root}; copy it there and name it")
    if not file.is_file():
        raise ConfigError(f"{asker}: its base '{name}' is not there (looked for {file}); copy it there")
    return file


class _File:
    """The names of one file, evaluated statement by statement.

    Args:
        path: for messages.
        bases: the merged values of its bases, which `_base_.a.b` and "{{_base_.a.b}}" name.
    """

    def __init__(self, path: Path, bases: Mapping[str, Any]):
        self.path = path
        self.bases = bases
        self.names: dict[str, Any] = {}
        self._steps = 0

    def values(self, tree: ast.Module) -> dict[str, Any]:
        """Evaluates the file; returns its names but for those that begin with an underscore."""
        for node in tree.body:
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
                continue  # a docstring
            if isinstance(node, ast.Assign):
                value = self.value(node.value)
                for target in node.targets:
                    self.assign(target, value)
            elif isinstance(node, ast.AnnAssign) and node.value is not None:
                self.assign(node.target, self.value(node.value))
            elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
                self.update(node.value)
            else:
                raise self.refusal(node)
            if not _is_small(self.names):
                raise self.refusal(node, f"makes more than {10 * MOST} values")
        return {name: value for name, value in self.names.items() if not name.startswith("_")}

    def update(self, call: ast.Call) -> None:
        """`name.update(dict)`, the one statement beside assignments."""
        if not (isinstance(call.func, ast.Attribute) and call.func.attr == "update" and len(call.args) <= 1):
            raise self.refusal(call)
        target = self.value(call.func.value) if isinstance(call.func.value, ast.Name) else None
        if not isinstance(target, dict):
            raise self.refusal(call)
        pairs: list[tuple[Any, ast.expr]] = [(None, argument) for argument in call.args]
        target |= self.mapping([*pairs, *((keyword.arg, keyword.value) for keyword in call.keywords)], call)

    def refusal(self, node: ast.stmt | ast.expr, why: str = "") -> ConfigError:
        """The error for a piece of the file that is more than data."""
        shown = " ".join(ast.unparse(node).split())
        shown = shown if len(shown) <= 80 else f"{shown[:77]}..."
        reason = why or "is more than data, and nothing of such a file is run"
        return ConfigError(f"{self.path}:{node.lineno}: `{shown}` {reason}; write its value there")

    def assign(self, target: ast.expr, value: Any) -> None:
        if isinstance(target, ast.Name):
            self.names[target.id] = value
        elif isinstance(target, ast.Subscript):
            container, key = self.value(target.value), self.value(target.slice)
            try:
                container[key] = value
            except (TypeError, KeyError, IndexError) as error:
                raise self.refusal(target, "cannot be set") from error
        elif isinstance(target, ast.Tuple) and isinstance(value, list | tuple) and len(target.elts) == len(value):
            for inner, part in zip(target.elts, value):
                self.assign(inner, part)
        else:
            raise self.refusal(target)

    def value(self, node: ast.expr) -> Any:
        """The value of an expression."""
        self.spend(1, node)
        if isinstance(node, ast.Constant):
            return self.text(node.value, node) if isinstance(node.value, str) else node.value
        if isinstance(node, ast.List | ast.Tuple | ast.Set):
            items = [self.value(item) for item in node.elts]
            return tuple(items) if isinstance(node, ast.Tuple) else items
        if isinstance(node, ast.Dict):
            return self.mapping([(key and self.value(key), value) for key, value in zip(node.keys, node.values)], node)
        if isinstance(node, ast.Name):
            if node.id not in self.names:
                raise self.refusal(node, "has no value above it")
            return self.names[node.id]
        if isinstance(node, ast.Call):
            return self.call(node)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd | ast.Not):
            value = self.value(node.operand)
            return not value if isinstance(node.op, ast.Not) else self.number(node, lambda: -value, value)
        if isinstance(node, ast.BinOp) and type(node.op) in OPERATIONS:
            return self.arithmetic(node)
        if isinstance(node, ast.Attribute | ast.Subscript):
            return self.part(node)
        if isinstance(node, ast.ListComp):
            return [self.value(node.elt) for _ in self.rounds(node, node.generators)]
        if isinstance(node, ast.DictComp):
            return {self.value(node.key): self.value(node.value) for _ in self.rounds(node, node.generators)}
        if isinstance(node, ast.JoinedStr):
            text = "".join(self.piece(piece) for piece in node.values)
            return text if len(text) <= MOST else self.too_large(node)
        raise self.refusal(node)

    def spend(self, count: int, node: ast.expr) -> None:
        """Counts what the file computes; loops in loops would not end."""
        self._steps += count
        if self._steps > MOST_STEPS:
            raise self.refusal(node, "computes too much")

    def piece(self, node: ast.expr) -> str:
        """A piece of an f-string: a text, or the text of a number or a text."""
        if isinstance(node, ast.FormattedValue):
            value = self.value(node.value)
            if node.format_spec is not None or node.conversion != -1 or not isinstance(value, int | float | str):
                raise self.refusal(node)
            return str(value)
        return str(self.value(node))

    def number(self, node: ast.UnaryOp, negate: Callable[[], Any], value: Any) -> Any:
        if not isinstance(value, int | float):
            raise self.refusal(node)
        return negate() if isinstance(node.op, ast.USub) else value

    def text(self, value: str, node: ast.expr) -> Any:
        """A text, or the value of a base that it names."""
        found = BASE_VALUE.fullmatch(value.strip())
        if found:
            return self.base_value(found[1], node)
        if "{{" in value:
            raise self.refusal(node, "is a text that only mmengine fills in")
        return value

    def base_value(self, path: str, node: ast.expr) -> Any:
        value: Any = self.bases
        for name in path.split("."):
            if not isinstance(value, Mapping) or name not in value:
                hint = did_you_mean(name, value if isinstance(value, Mapping) else ())
                raise self.refusal(node, f"names '{path}', which no base has{hint}")
            value = value[name]
        self.spend(100, node)
        return copy.deepcopy(value)

    def mapping(self, pairs: list[tuple[Any, ast.expr]], node: ast.expr) -> dict[Any, Any]:
        """A dict of evaluated keys and values; None as key stands for ** of another dict."""
        made: dict[Any, Any] = {}
        for key, inner in pairs:
            value = self.value(inner)
            if key is not None:
                made[key] = value
            elif isinstance(value, dict):
                made |= value
            else:
                raise self.refusal(node)
        return made

    def call(self, node: ast.Call) -> Any:
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        if name == "dict" and len(node.args) <= 1:
            pairs: list[tuple[Any, ast.expr]] = [(None, argument) for argument in node.args]
            return self.mapping([*pairs, *((keyword.arg, keyword.value) for keyword in node.keywords)], node)
        if name not in FUNCTIONS or node.keywords:
            raise self.refusal(node)
        values = [self.value(argument) for argument in node.args]
        self.spend(sum(len(value) for value in values if isinstance(value, list | tuple | dict | str)), node)
        try:
            made = FUNCTIONS[name](*values)
            if isinstance(made, range):
                self.spend(min(len(made), MOST), node)
                return list(made[: MOST + 1]) if len(made) <= MOST else self.too_large(node)
            return made
        except (TypeError, ValueError, OverflowError) as error:
            raise self.refusal(node, f"has no value ({error})") from error

    def arithmetic(self, node: ast.BinOp) -> Any:
        left, right = self.value(node.left), self.value(node.right)
        if isinstance(node.op, ast.Mult):
            for items, count in ((left, right), (right, left)):
                if isinstance(items, list | tuple | str) and isinstance(count, int) and len(items) * count > MOST:
                    self.too_large(node)
        lengths = [len(side) for side in (left, right) if isinstance(side, list | tuple | str)]
        if len(lengths) == 2 and sum(lengths) > MOST:
            self.too_large(node)
        if isinstance(node.op, ast.Mod) and isinstance(left, str):
            raise self.refusal(node)
        try:
            value = OPERATIONS[type(node.op)](left, right)
        except (TypeError, ArithmeticError) as error:
            raise self.refusal(node, f"has no value ({error})") from error
        if isinstance(value, list | tuple | str):
            self.spend(len(value), node)
        if isinstance(value, int) and value.bit_length() > 4096:
            self.too_large(node)
        return value

    def too_large(self, node: ast.expr) -> Any:
        raise self.refusal(node, "is too large")

    def part(self, node: ast.Attribute | ast.Subscript) -> Any:
        """`_base_.a.b`, and positions and keys of values."""
        text = ast.unparse(node)
        if re.fullmatch(r"_base_(\.\w+)+", text):
            return self.base_value(text.removeprefix("_base_."), node)
        if isinstance(node, ast.Attribute) or isinstance(node.slice, ast.Slice):
            raise self.refusal(node)
        try:
            return self.value(node.value)[self.value(node.slice)]
        except (TypeError, KeyError, IndexError) as error:
            raise self.refusal(node, "names nothing") from error

    def rounds(self, node: ast.expr, loops: list[ast.comprehension]) -> Iterator[None]:
        """The rounds of a comprehension's loops, the last of which turns fastest; their names are set meanwhile."""
        outer = dict(self.names)
        rounds: list[dict[str, Any]] = [{}]
        for loop in loops:
            longer: list[dict[str, Any]] = []
            for names in rounds:
                self.names |= names
                items = self.value(loop.iter)
                if loop.ifs or loop.is_async or not isinstance(items, list | tuple):
                    raise self.refusal(node)
                if len(longer) + len(items) > MOST:
                    self.too_large(node)
                for item in items:
                    self.assign(loop.target, item)
                    longer.append(names | {name: self.names[name] for name in _targets(loop.target)})
            rounds = longer
        for names in rounds:
            self.names |= names
            yield
        self.names = outer


def _is_small(values: Any) -> bool:
    """Whether a value, read through all its parts, is made of fewer than 10 MOST; what holds itself is not."""
    waiting, count = [values], 0
    while waiting and count <= 10 * MOST:
        value = waiting.pop()
        count += 1
        if isinstance(value, dict | list | tuple):
            waiting += value.values() if isinstance(value, dict) else value
    return not waiting


def _targets(node: ast.expr) -> list[str]:
    """The names that a loop sets."""
    return [inner.id for inner in ast.walk(node) if isinstance(inner, ast.Name)]


def over(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Returns `below` with `above` over it, as mmengine merges.

    Args:
        below: values of the bases.
        above: values of the file. Dicts are merged, `_delete_=True` in one replaces what is below; others replace.
    """
    made = copy.deepcopy(below)
    for key, value in above.items():
        old = made.get(key)
        if isinstance(value, dict) and isinstance(old, dict) and not value.get("_delete_"):
            made[key] = over(old, value)
        else:
            made[key] = _without_marks(copy.deepcopy(value)) if key in made else copy.deepcopy(value)
    return made


def _without_marks(value: Any) -> Any:
    """The value without `_delete_`, which has done its work."""
    if isinstance(value, dict):
        return {key: _without_marks(inner) for key, inner in value.items() if key != "_delete_"}
    if isinstance(value, list | tuple):
        return type(value)(_without_marks(inner) for inner in value)
    return value
