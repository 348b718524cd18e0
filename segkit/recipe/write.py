"""The text of a config: bases, own values, and beside each why it was chosen."""

import json
import keyword
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from segkit.config import Ref
from segkit.recipe.choice import Choice

MOST_LINES = 25
"""Lines of a config at most."""

WIDTH = 120
"""Letters of a line at most."""


def config_text(title: str, choices: Sequence[Choice]) -> str:
    """Returns the text of a Python config.

    Args:
        title: its first line, a sentence.
        choices: base and values; the later one of a key counts. A value without a reason stands beside the one before.

    Raises:
        ValueError: a key is no dotted path of names.
    """
    bases = [choice for choice in choices if choice.key == "base"]
    lines = [f'"""{harmless(title)}"""', ""]
    if any(_has_ref(choice.value) for choice in choices):
        lines += ["from segkit.config import ref", ""]
    lines += [_commented(f"_base_ = {literal(choice.value)}", choice.reason) for choice in bases[-1:]]
    statements = _statements(choices)
    while len(lines) + sum(len(statement.lines) for statement in statements) > MOST_LINES:
        several = [statement for statement in statements if statement.can_shrink]
        if not several:
            break
        fitting = [statement for statement in several if len(statement.text) <= WIDTH]
        max(fitting or several, key=lambda statement: len(statement.lines)).is_short = True
    return "\n".join([*lines, *(line for statement in statements for line in statement.lines)]) + "\n"


@dataclass
class _Statement:
    """An assignment: values by their names, or of a section by the names below it.

    Attributes:
        names: what is assigned.
        values: one for each name; of a section its nested values.
        reasons: of the statement; of a section by the first name below it.
        is_short: whether it shall be one line.
    """

    names: list[str]
    values: list[object]
    reasons: dict[str, list[str]] = field(default_factory=dict)
    is_short: bool = False

    @property
    def can_shrink(self) -> bool:
        """Whether it has several lines."""
        return not self.is_short and len(self.lines) > 1

    @property
    def text(self) -> str:
        """The statement on one line, without comment."""
        return f"{', '.join(self.names)} = {', '.join(literal(value) for value in self.values)}"

    @property
    def lines(self) -> list[str]:
        """The statement with its comments."""
        value = self.values[0]
        reasons = list(dict.fromkeys(reason for found in self.reasons.values() for reason in found))
        text = self.text
        is_section = len(self.names) == 1 and isinstance(value, Mapping) and (len(value) > 1 or len(text) > WIDTH - 20)
        if is_section and isinstance(value, Mapping) and not self.is_short:
            inner = [
                line for key, item in value.items() for line in _entry(key, item, "; ".join(self.reasons.get(key, [])))
            ]
            return [f"{self.names[0]} = dict(", *inner, ")"]
        if len(text) > WIDTH and isinstance(value, list | tuple) and not self.is_short and len(self.names) == 1:
            ends = "[]" if isinstance(value, list) else "()"
            first = _commented(f"{self.names[0]} = {ends[0]}", "; ".join(reasons))
            return [first, *(f"    {literal(item)}," for item in value), ends[1]]
        return [_commented(text, "; ".join(reasons))]


def _entry(key: str, value: object, reason: str) -> list[str]:
    """The lines of a value in a section; lists that are long have a line for each element."""
    text = f"    {key}={literal(value)},"
    if len(text) > WIDTH and isinstance(value, list):
        return [_commented(f"    {key}=[", reason), *(f"        {literal(item)}," for item in value), "    ],"]
    return [_commented(text, reason)]


def _statements(choices: Sequence[Choice]) -> list[_Statement]:
    """One statement for each section and each value of its own."""
    latest = {choice.key: choice for choice in choices if choice.key != "base"}
    found: dict[str, _Statement] = {}
    last: _Statement | None = None
    for key, choice in latest.items():
        head, *rest = key.split(".")
        if not all(part.isidentifier() and not keyword.iskeyword(part) for part in (head, *rest)):
            raise ValueError(f"{key}: must be names with dots between them")
        if not rest and not choice.reason and last is not None:
            last.names.append(head)
            last.values.append(choice.value)
            continue
        if not rest:
            reasons = {head: [choice.reason]} if choice.reason else {}
            found[head] = last = _Statement([head], [choice.value], reasons)
            continue
        last = None
        statement = found.setdefault(head, _Statement([head], [{}]))
        node = statement.values[0]
        if not isinstance(node, dict):
            raise ValueError(f"{key}: {head} is a value of its own")
        for part in rest[:-1]:
            node = node.setdefault(part, {})
        node[rest[-1]] = choice.value
        reasons_of = statement.reasons.setdefault(rest[0], [])
        if choice.reason and choice.reason not in reasons_of:
            reasons_of.append(choice.reason)
    return list(found.values())


def _has_ref(value: object) -> bool:
    inner = value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ()
    return isinstance(value, Ref) or any(_has_ref(item) for item in inner)


def literal(value: object) -> str:
    """Returns a value as Python code."""
    if isinstance(value, Mapping):
        if all(isinstance(key, str) and key.isidentifier() and not keyword.iskeyword(key) for key in value):
            return f"dict({', '.join(f'{key}={literal(item)}' for key, item in value.items())})"
        return f"{{{', '.join(f'{literal(key)}: {literal(item)}' for key, item in value.items())}}}"
    if isinstance(value, tuple):
        return f"({', '.join(map(literal, value))}{',' * (len(value) == 1)})"
    if isinstance(value, list):
        return f"[{', '.join(map(literal, value))}]"
    if isinstance(value, str):
        return _text(value)
    return repr(value)


def _text(value: str) -> str:
    if not value.isprintable():
        return repr(value)
    if "\\" in value and '"' not in value and not value.endswith("\\"):
        return f'r"{value}"'
    return json.dumps(value, ensure_ascii=False)


def harmless(text: str) -> str:
    """Text that stands between triple quotes or behind #."""
    plain = "".join(letter if letter.isprintable() else " " for letter in text)
    return plain.replace("\\", "/").replace('"""', "'''").rstrip('"')


def _commented(code: str, reason: str) -> str:
    """A line with its comment, which is cut where the line would be too long."""
    if not reason:
        return code
    text, room = harmless(reason), WIDTH - len(code) - 4
    if len(text) > room:
        if room < 20:
            return code
        text = text[: room - 4].rsplit(" ", 1)[0].rstrip(",;: (") + " ..."
    return f"{code}  # {text}"
