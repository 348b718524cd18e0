"""The way back through a key map: segkit's weights by the names of the project that the map reads.

Rules are undone in reverse order, and the result is checked: the key map must make the same weights of it again.
"""

import re
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

from segkit.convert.keymap import Edit, KeyMap
from segkit.readers.state_dict import COUNTER
from segkit.registry import ConfigError

OWN = ("head.", "aux.", "backbone.encoder.")
"""What names of segkit begin with, and those of no source that is written."""


class Undo(NamedTuple):
    """How a rule is undone.

    Attributes:
        pattern: of names that the rule may have made.
        pieces: of the name before, as text, or as the number of a group of the pattern.
    """

    pattern: re.Pattern
    pieces: tuple[str | int, ...]

    def apply(self, name: str) -> str:
        """Returns the name before the rule."""
        return self.pattern.sub(lambda m: "".join(p if isinstance(p, str) else m[f"g{p}"] for p in self.pieces), name)


def back(weights: dict[str, Tensor], keymap: KeyMap) -> dict[str, Tensor]:
    """Returns weights by the names of a key map's source.

    Args:
        weights: by segkit's names.
        keymap: reads files of the source.

    Raises:
        ConfigError: a name, or a change of a tensor, cannot be undone.
    """
    several = any(name.startswith("aux.1.") for name in weights)
    whole = _unzeroed(weights, keymap)
    parts = KeyMap(keymap.source, (), splits={end: tuple((part, 1) for part in of) for end, of in keymap.joins.items()})
    joined = KeyMap(keymap.source, (), joins={end: tuple(p for p, _ in of) for end, of in keymap.splits.items()})
    result: dict[str, Tensor] = {}
    for name, value in _renamed(_renamed(whole, parts), joined).items():
        before = source_of(name, keymap, several=several)
        if before is None:
            raise ConfigError(f"{keymap.source}: the name {name} cannot be turned back; convert the other way alone")
        for edit in reversed(keymap.rename(before)[1]):
            value = _undone(edit, keymap)(value)
        result[before] = value
    _check(weights, result, keymap)
    return result


def source_of(name: str, keymap: KeyMap, *, several: bool) -> str | None:
    """Finds the name in the source that a key map makes a name of segkit of.

    Args:
        name: of segkit.
        keymap: the key map.
        several: whether the network has more than one auxiliary head: mmsegmentation numbers them only then.

    Returns:
        The name; None where there is none.
    """
    rules = [rule for rule in keymap.rules if rule[1] is not None and (several or rule[1] != "aux.")]
    for pattern, replacement in keymap.back:
        before = re.sub(pattern, replacement, name)
        if before != name and keymap.rename(before)[0] == name:
            return before
    return _search(name, tuple((rule[0], str(rule[1])) for rule in rules))


def _search(name: str, rules: tuple[tuple[str, str], ...]) -> str | None:
    """A name that all rules together make the given one of; of several the one that the last rules have changed."""
    if not rules:
        return None if name.startswith(OWN) else name
    *earlier, (pattern, replacement) = rules
    expression = re.compile(pattern)
    tried = [undo.apply(name) for undo in undos(pattern, replacement) if undo.pattern.search(name)]
    for before in (*dict.fromkeys(tried), name):
        if expression.sub(replacement, before) != name:
            continue
        found = _search(before, tuple(earlier))
        if found is not None:
            return found
    return None


@cache
def undos(pattern: str, replacement: str) -> tuple[Undo, ...]:
    """Returns the ways to undo a rule: one for each choice of alternatives in its pattern; none for richer patterns."""
    result = []
    for choice in _choices(pattern):
        groups: dict[int, str] = {}
        pieces = _pieces(choice, groups)
        if pieces is None:
            continue
        expression, seen = "^" if choice.startswith("^") else "", set()
        for k, part in enumerate(re.split(r"\\(\d)", replacement)):
            if k % 2 == 0:
                expression += re.escape(part)
            elif (number := int(part)) in seen:
                expression += f"(?P=g{number})"
            else:
                seen.add(number)
                expression += f"(?P<g{number}>{groups[number]})"
        if seen == set(groups):
            end = "$" if choice.endswith("$") else ""
            result.append(Undo(re.compile(expression + end), tuple(pieces)))
    return tuple(result)


def _choices(pattern: str) -> list[str]:
    """Patterns without groups of alternatives, and without conditions on what follows."""
    pattern = re.sub(r"\(\?![^()]*\)", "", pattern)
    found = re.search(r"\(\?:([^()]*)\)(\?)?", pattern)
    if found is None:
        return [pattern]
    options = [*found[1].split("|"), *([""] if found[2] else [])]
    return [
        choice for option in options for choice in _choices(pattern[: found.start()] + option + pattern[found.end() :])
    ]


def _pieces(pattern: str, groups: dict[int, str]) -> list[str | int] | None:
    """The text and groups of a pattern in order, and what its groups hold; None where other parts match many texts."""
    pieces: list[str | int] = []
    rest = pattern.removeprefix("^").removesuffix("$")
    while rest:
        if group := re.match(r"\(((?:[^()\\]|\\.)*)\)", rest):
            number = len(groups) + 1
            groups[number] = group[1]
            pieces.append(number)
        elif group := re.match(r"\\([^A-Za-z0-9])", rest) or re.match(r"([A-Za-z0-9_@-])", rest):
            pieces.append(group[1])
        else:
            return None
        rest = rest[group.end() :]
    return pieces


def _renamed(weights: dict[str, Tensor], keymap: KeyMap) -> dict[str, Tensor]:
    """As KeyMap.apply, without counters that it adds."""
    return {name: value for name, value in keymap.apply(weights).items() if name in weights or COUNTER not in name}


def _unzeroed(weights: dict[str, Tensor], keymap: KeyMap) -> dict[str, Tensor]:
    """Weights without the biases that the source does not have, as far as they are still zero."""
    return {
        name: value
        for name, value in weights.items()
        if name not in keymap.zeros or value.is_meta or bool(value.count_nonzero())
    }


def _undone(edit: Edit, keymap: KeyMap) -> Edit:
    if edit not in keymap.undo:
        raise ConfigError(f"{keymap.source}: {getattr(edit, '__name__', edit)} cannot be undone")
    return keymap.undo[edit]


def _check(weights: dict[str, Tensor], result: dict[str, Tensor], keymap: KeyMap) -> None:
    """Raises a ConfigError where the key map does not make the weights of the result again."""
    shapes = {name: torch.empty(value.shape, device="meta") for name, value in result.items()}
    again = {name: tuple(value.shape) for name, value in keymap.apply(shapes).items()}
    if again != (wanted := {name: tuple(value.shape) for name, value in weights.items()}):
        name = next(name for name in (*wanted, *again) if wanted.get(name) != again.get(name))
        raise ConfigError(f"{keymap.source}: {name} cannot be turned back; convert the other way alone")
