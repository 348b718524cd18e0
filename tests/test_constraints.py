"""Values against annotations: what fits, what does not, and the words for it."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pytest

from segkit import registry as reg
from segkit.constraints.check import annotations, fault, words
from segkit.constraints.named import (
    AnySize,
    Decay,
    Fraction,
    NonNegativeFloat,
    NonNegativeInt,
    OneOf,
    PositiveFloat,
    PositiveInt,
    Range,
    Unbounded,
)

NAN, INF = float("nan"), float("inf")
REGISTRIES = [registry for registry in vars(reg).values() if isinstance(registry, reg.Registry)]


@pytest.mark.parametrize(
    "hint, right, wrong",
    [
        (int, [0, -3, np.int64(4)], [1.0, True, "1", None, NAN, [1]]),
        (float, [0, -3.5, np.float32(2), 1e38], ["1e-3", NAN, INF, True, None]),
        (bool, [True, False], [0, 1, "False", None]),
        (str, ["", Path("a")], [3, None, ["a"]]),
        (PositiveInt, [1, 9], [0, -1, 1.5, NAN]),
        (NonNegativeInt, [0, 9], [-1, 0.0]),
        (PositiveFloat, [1e-9, 3], [0, -1.0, NAN, INF]),
        (NonNegativeFloat, [0, 2.5], [-1e-9, NAN]),
        (Fraction, [0, 1, 0.5], [-0.1, 1.1, NAN]),
        (Decay, [0, 0.999], [1, 1.0, -0.1]),
        (Annotated[float, Range(-1)], [-1, 5], [-1.5]),
        (Annotated[float, Range(most=2)], [-9, 2], [2.1]),
        (Annotated[float, Unbounded()], [INF, 1.0], ["x", None]),
        (Annotated[str, OneOf({"a": 1, "b": 2})], ["a", "b"], ["c", 1, None]),
        (Literal["x", "y"], ["x"], ["z", 0]),
        (int | None, [None, 3], ["None", 1.5]),
        (AnySize, [5, (5, 6), [5, 6]], [0, (5,), (5, 0), (5, 6, 7), 1.5]),
        (list[int], [[], [1, 2], (1, 2), range(3)], [3, "12", [1, "2"], {0: 1}, None]),
        (tuple[int, ...], [[], (1, 2)], [(1, 2.5), 7]),
        (tuple[float, float], [(0, 1.5), [1, 2]], [(1,), (1, NAN), 3.0]),
        (Sequence[str], [["a"], ()], ["a", [1]]),
        (Sequence[Sequence[int]], [[[1], [2, 3]]], [[1, 2], [["a"]]]),
        (dict[str, int], [{}, {"a": 1}], [{"a": "b"}, {1: 1}, [1]]),
        (Mapping[str, str] | None, [{"a": "b"}, None], [{"a": 1}, "a"]),
        (Callable[[], int], [len], [3, None]),
        (Any, [None, 3, "x", object()], []),
        (np.ndarray, [np.zeros(3)], [3, "x", None, {"type": "x"}]),
    ],
)
def test_values_against_annotations(hint, right, wrong):
    assert [fault(value, hint) for value in right] == [None] * len(right)
    assert all(fault(value, hint) is not None for value in wrong)


def test_the_fault_names_the_wrong_element():
    found = fault([(1, 2), (3, -4)], Sequence[tuple[NonNegativeInt, NonNegativeInt]])
    assert (found.path, found.value, found.needs) == (".1.1", -4, "a whole number of 0 or more")
    found = fault({"a": [0.5, 2]}, dict[str, list[Fraction]])
    assert (found.path, found.value) == (".a.1", 2)
    found = fault([1, 0], None | list[PositiveInt] | int)
    assert (found.path, found.value) == (".1", 0)


@pytest.mark.parametrize(
    "hint, text",
    [
        (PositiveInt | None, "None or a whole number of 1 or more"),
        (PositiveFloat, "a number above 0"),
        (Decay, "a number from 0 to below 1"),
        (Annotated[str, OneOf(("a", "b", "c"))], "one of 'a', 'b', 'c'"),
        (AnySize, "a whole number of 1 or more or 2 values, each a whole number of 1 or more"),
        (list[str], "a list, each text"),
        (tuple[str, int], "(text, a whole number)"),
        (dict[str, int], "a dict(...)"),
    ],
)
def test_words(hint, text):
    assert words(hint) == text


@pytest.mark.parametrize("registry", REGISTRIES, ids=lambda registry: registry.kind)
def test_defaults_fit_their_annotations(registry):
    for name in registry.names():
        cls = registry.get(name)
        hints = annotations(cls)
        for parameter in inspect.signature(cls).parameters.values():
            if parameter.default is parameter.empty:
                continue
            assert parameter.name in hints, f"{name}.{parameter.name} has no annotation that can be read"
            assert fault(parameter.default, hints[parameter.name]) is None, f"{name}.{parameter.name}"


def test_unbounded_numbers_are_few():
    """Plain floats of segkit's own classes are those whose sign is free; a new one is looked at here."""
    free = {"ignore", "fill", "mean", "padding", "degrees", "inner_k", "gate_bias"}
    found = set()
    for registry in REGISTRIES:
        for name in registry.names():
            cls = registry.get(name)
            if cls.__module__.startswith("segkit"):
                found |= {key for key, hint in annotations(cls).items() if hint is float}
    assert found <= free
