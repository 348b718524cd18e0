"""Compares values with annotations, and says in words what an annotation asks for."""

import inspect
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from numbers import Integral, Real
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

from segkit.constraints.named import Filled, OneOf, Pattern, Range, Unbounded

WORDS: dict[object, str] = {
    int: "a whole number",
    float: "a number",
    bool: "True or False",
    str: "text",
    dict: "a dict(...)",
    NoneType: "None",
}
"""Words for types."""

LISTS = (list, tuple, Sequence, Iterable)
"""Origins of annotations that a list or tuple of the config fits."""

MAPPINGS = (dict, Mapping)
"""Origins of annotations that a dict of the config fits."""


HELD = (Range, OneOf, Filled, Pattern)
"""Constraints that a value of the right type is held against."""

LARGEST = 2**63 - 1
"""Whole numbers beyond this fit no tensor."""

PLAIN = (str, bytes, Real, list, tuple, dict, NoneType)
"""Values of configs that are no object of another class."""


class Fault(NamedTuple):
    """What is wrong with a value.

    Attributes:
        path: of the wrong element within the value, ".2" of a list, "" for the value itself.
        value: the wrong element.
        needs: what it must be, in words.
    """

    path: str
    value: object
    needs: str


@cache
def annotations(cls: type) -> dict[str, Any]:
    """Returns the annotations of a class's constructor, or of a dataclass's fields, with their constraints.

    Args:
        cls: any class; where an annotation names what cannot be imported at run time, none are known.
    """
    try:
        return get_type_hints(cls.__init__, include_extras=True)  # type: ignore[misc]
    except (NameError, TypeError, AttributeError):
        return {}


def fault(value: object, hint: Any) -> Fault | None:
    """Compares a value of a config with an annotation.

    A list may stand for a tuple; whole floats are no int, and True is no number. What cannot be judged (arrays,
    modules, classes of other packages) fits.

    Args:
        value: the value.
        hint: the annotation, with Annotated where it has constraints.

    Returns:
        What is wrong, None for a value that fits.
    """
    return _union(value, list(_choices(hint)))


def _choices(hint: Any) -> Iterator[Any]:
    """The members of a union, those of unions within it too."""
    if get_origin(hint) in (Union, UnionType):
        for member in get_args(hint):
            yield from _choices(member)
    else:
        yield hint


def _union(value: object, hints: list[Any]) -> Fault | None:
    inner: list[Fault] = []
    for hint in hints:
        found = _one(value, hint)
        if found is None:
            return None
        if found.path:
            inner.append(found)
    if inner:  # the value is of a kind that fits; one of its elements is not
        return inner[-1]
    return Fault("", value, _either(hints))


def _one(value: object, hint: Any) -> Fault | None:
    """Compares a value with an annotation that is no union."""
    origin, args = get_origin(hint), get_args(hint)
    if origin is Annotated:
        base, *constraints = args
        found = _union(value, list(_choices(base))) if base is not float else _float(value, constraints)
        if found is not None:
            return found if found.path else found._replace(needs=words(hint))
        return None if all(_holds(constraint, value) for constraint in constraints) else Fault("", value, words(hint))
    if hint is float:
        return _float(value, ())
    if origin is Literal:
        fits = any(type(value) is type(choice) and value == choice for choice in args)
    elif origin in LISTS or hint in LISTS:
        return _elements(value, hint, args)
    elif origin in MAPPINGS or hint in MAPPINGS:
        return _entries(value, hint, args)
    else:
        fits = _is_plain(value, hint)
    return None if fits else Fault("", value, words(hint))


def _holds(constraint: object, value: Any) -> bool:
    return not isinstance(constraint, HELD) or constraint.holds(value)


def _float(value: object, constraints: Sequence[object]) -> Fault | None:
    is_number = isinstance(value, Real) and not isinstance(value, bool)
    may_be_infinite = any(isinstance(constraint, Unbounded) for constraint in constraints)
    if is_number and (may_be_infinite or math.isfinite(value)):  # type: ignore[arg-type]
        return None
    return Fault("", value, words(float) + (" that is finite" if is_number else ""))


def _is_plain(value: object, hint: Any) -> bool:
    """Whether a value is of a type; types that a config cannot hold are not judged."""
    if hint is int:
        return isinstance(value, Integral) and not isinstance(value, bool) and abs(int(value)) <= LARGEST
    if hint is bool:
        return isinstance(value, bool)
    if hint is str:
        return isinstance(value, str | os.PathLike)
    if hint in (NoneType, None):
        return value is None
    if isinstance(hint, type) and issubclass(hint, os.PathLike):
        return isinstance(value, str | os.PathLike)
    if hint is Callable or get_origin(hint) is Callable:
        return callable(value)
    if hint in (Any, object) or not isinstance(hint, type):
        return True
    return not isinstance(value, PLAIN) or isinstance(value, hint)


def _elements(value: object, hint: Any, args: tuple) -> Fault | None:
    if not isinstance(value, list | tuple | range):
        # arrays and other iterables come from Python code, not from a config; texts and numbers are a mistake
        return Fault("", value, words(hint)) if isinstance(value, PLAIN) else None
    is_fixed = get_origin(hint) is tuple and ... not in args and bool(args)
    if is_fixed and len(value) != len(args):
        return Fault("", value, words(hint))
    inner = args if is_fixed else args[:1] * len(value)
    for position, (element, kind) in enumerate(zip(value, inner, strict=False)):
        found = fault(element, kind)
        if found is not None:
            return found._replace(path=f".{position}{found.path}")
    return None


def _entries(value: object, hint: Any, args: tuple) -> Fault | None:
    if not isinstance(value, Mapping):
        return Fault("", value, words(hint))
    for key, entry in value.items() if len(args) == 2 else ():
        for part, kind in ((key, args[0]), (entry, args[1])):
            found = fault(part, kind)
            if found is not None:
                return found._replace(path=f".{key}{found.path}")
    return None


def _either(hints: list[Any]) -> str:
    """The words of a union's members; None stands first, where it cannot be read as a part of a list."""
    shown = dict.fromkeys(words(hint) for hint in hints)
    return " or ".join(sorted(shown, key=lambda text: text != "None"))


def words(hint: Any) -> str:
    """Returns what an annotation asks for, such as "a whole number, 1 or more" or "'a' or 'b'"."""
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return _either(list(_choices(hint)))
    if origin is Annotated:
        base, *constraints = args
        shown = [c.words for c in constraints if isinstance(c, HELD)]
        if any(isinstance(c, OneOf) for c in constraints):
            return " and ".join(shown)
        return " ".join([words(base), *shown])
    if origin is Literal:
        return OneOf(args).words
    if origin is tuple and args and ... not in args:
        kinds = list(dict.fromkeys(words(arg) for arg in args))
        return f"{len(args)} values, each {kinds[0]}" if len(kinds) == 1 else f"({', '.join(map(words, args))})"
    if origin in LISTS:
        return f"a list, each {words(args[0])}" if args and args[0] is not Any else "a list"
    if hint in LISTS:
        return "a list"
    if origin in MAPPINGS:
        return "a dict(...)"
    if origin is Callable:
        return "a function"
    if hint in WORDS:
        return WORDS[hint]
    return inspect.formatannotation(hint).rpartition(".")[2]
