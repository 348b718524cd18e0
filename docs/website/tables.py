"""Tables of arguments, and the check that a docstring names what is there."""

import importlib
import inspect
import re
from collections.abc import Callable, Collection, Mapping
from typing import Any, TypeAlias

from segkit.constraints.check import words
from website.docstrings import cell, markdown

Link: TypeAlias = Callable[[str], str]
"""Gives the address of the page on a name, "" where there is none."""


VARIABLE = inspect.Parameter.VAR_KEYWORD


def no_link(name: str) -> str:
    """Knows no page."""
    return ""


def names_that_lead_nowhere(text: str | None, place: str) -> list[str]:
    """Returns a problem for each name "segkit.a.b" in a docstring that cannot be imported."""
    names = set(re.findall(r"\bsegkit(?:\.[a-zA-Z_]\w*)+", text or ""))
    return [f"{place}: its docstring names {name}, which is not there" for name in sorted(names) if not exists(name)]


def exists(name: str) -> bool:
    """Whether "segkit.a.b" is a module or something in one."""
    parts = name.split(".")
    for size in range(len(parts), 0, -1):
        try:
            found: Any = importlib.import_module(".".join(parts[:size]))
        except ModuleNotFoundError:
            continue
        for part in parts[size:]:
            found = getattr(found, part, None)
        return found is not None
    return False


def parameters_of(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    found = inspect.signature(function).parameters
    return {name: value for name, value in found.items() if value.kind not in (value.VAR_KEYWORD, value.VAR_POSITIONAL)}


def shown_default(value: object) -> str:
    if isinstance(value, type):
        return f"`{value.__name__}`"
    return f"`{value!r}`".replace("|", "\\|")


def table_of(
    parameters: Mapping[str, inspect.Parameter],
    values: Mapping[str, str],
    texts: Mapping[str, str],
    link: Link = no_link,
    filled: Collection[str] = (),
) -> str:
    """Returns a table of arguments: name, default, values, meaning.

    Args:
        parameters: the arguments by name.
        values: what they may be, as Markdown.
        texts: what they mean.
        link: gives the addresses of pages on names in the texts.
        filled: arguments without a default that segkit gives.
    """
    rows = ["| argument | default | values | meaning |", "|---|---|---|---|"]
    for name, parameter in parameters.items():
        default = shown_default(parameter.default)
        if parameter.default is parameter.empty:
            default = "filled in" if name in filled else "required" if parameter.kind is not VARIABLE else "-"
        meaning = markdown(texts.get(name, ""), link)
        rows.append(f"| `{name}` | {default} | {cell(values.get(name, ''))} | {cell(meaning)} |")
    return "\n".join(rows)


def values_in_words(hints: Mapping[str, Any]) -> dict[str, str]:
    """Returns what the check of a config asks of each argument, as Markdown."""
    return {name: markdown(words(hint)) for name, hint in hints.items()}


def types_of(function: Callable[..., Any]) -> dict[str, str]:
    """Returns the types of a function's arguments as code, without the names of the modules they come from."""
    found = {}
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.annotation is not parameter.empty:
            text = re.sub(r"\b(?:\w+\.)+(?=\w)", "", inspect.formatannotation(parameter.annotation))
            found[name] = f"`{text}`"
    return found
