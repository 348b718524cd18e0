"""Dicts within dicts of another toolbox, compared with the one form of them that segkit has built in."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from segkit.migrate.part import Part, plain


@dataclass(frozen=True)
class Slot:
    """A place of a form whose value is an argument here; places of one name must hold the same value."""

    name: str


@dataclass(frozen=True)
class Maybe:
    """A place of a form that may be left out."""

    form: Any


def filled(part: Part, key: str, form: Any) -> dict[str, Any]:
    """Takes a value that must have a form.

    Args:
        part: the dict that holds it.
        key: its key.
        form: a value, a Slot, or a dict or a list of forms.

    Returns:
        The values of the form's slots.

    Raises:
        ConfigError: the value differs from the form; the message names the key.
    """
    found: dict[str, Any] = {}
    _compare(part.take(key), form, key, part, found)
    return found


def _compare(value: Any, form: Any, at: str, part: Part, found: dict[str, Any]) -> None:
    form = form.form if isinstance(form, Maybe) else form
    if isinstance(form, Slot):
        if form.name in found and found[form.name] != value:
            raise part.refusal(at, value, f"must be {found[form.name]}, as in the other places of the same number")
        found[form.name] = plain(value)
    elif isinstance(form, Mapping) and isinstance(value, Mapping):
        for name, inner in value.items():
            if name not in form:
                raise part.refusal(f"{at}.{name}", inner, "segkit has nothing for this key; remove it")
            _compare(inner, form[name], f"{at}.{name}", part, found)
        for name, inner in form.items():
            if name not in value and not isinstance(inner, Maybe):
                raise part.refusal(at, value, f"has no '{name}'; set it")
    elif isinstance(form, list) and isinstance(value, list | tuple) and len(form) == len(value):
        for number, (inner, wanted) in enumerate(zip(value, form)):
            _compare(inner, wanted, f"{at}[{number}]", part, found)
    elif plain(value) != plain(form):
        raise part.refusal(at, value, f"segkit's form of this network has {form!r} alone")
