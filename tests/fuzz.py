"""Wrong values and broken structures for configs, and what a check makes of them."""

import contextlib
import copy
import io
import random
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from segkit import api
from segkit.config import Config, load_config
from segkit.engine.checkpoint import CheckpointError
from segkit.engine.config_values import values
from segkit.engine.terms import NonFiniteLoss
from segkit.files import DataError
from segkit.registry import ConfigError

NAN, INF = float("nan"), float("inf")

WRONG: tuple[Any, ...] = (
    *(-1, -5, 0, 1.5, 2, 10**6, NAN, INF, -INF, 1e38, -0.5, "x", "1e-3", "False", "", None, True, b"x"),
    *([], [0.5], [-1], (1, 2, 3, 4, 5), ["x"], [None], {}, {"type": "Nope"}, {"a": 1}, 10**30),
)
"""Values that fit few settings."""

SMALL = {
    "semantic": ("model.head.channels=(8,6,4)",),
    "interactive": ("model.head.channels=(8,6,4)", "inference.clicks.max_clicks=2", "metrics.0.limits=(2,)"),
    "incremental": ("model.head.channels=(8,6,4)", "runner.later.loop.steps=2"),
    "box_supervised": ("model.neck.channels=8", "model.head.channels=8", "model.head.groups=2"),
}
"""Options that make the quickstart of each runner small."""

OPTIONS = (
    *("model.backbone.channels=(4,6,8,8)", "train.batch_size=2", "train.dataset.length=8", "loop.steps=5"),
    *("loop.eval_every=5", "loop.save_every=5", "val.dataset.length=2", "val.batch_size=1", "test.dataset.length=2"),
    *("test.batch_size=1", "loop.channels_last=False"),
)

SECONDS = 60
"""Longer is a hang."""


class Case(NamedTuple):
    """One wrong config: the runner's quickstart, and where it was changed to what."""

    runner: str
    path: str
    value: object


class Hang(BaseException):
    """A check that takes too long."""


def small_config(runner: str) -> Config:
    """The small quickstart of a runner, whose sections may be changed."""
    return load_config(f"segkit:quickstart/{runner}.py", (*OPTIONS, *SMALL[runner]))


def set_at(cfg: dict, path: str, value: object) -> None:
    """Sets a value at a dotted path, adding what is missing; a name in a list is a position."""
    *parents, last = path.split(".")
    node: Any = cfg
    for name in parents:
        if isinstance(node, list | tuple):
            node = node[int(name)]
            continue
        inner = node.get(name)
        if isinstance(inner, tuple):
            inner = node[name] = list(inner)
        node = inner if inner is not None else node.setdefault(name, {})
    if isinstance(node, list):
        node[int(last)] = value
    else:
        node[last] = value


def wrong_values(count: int, seed: int) -> list[Case]:
    """Draws settings of all four runners and a wrong value for each; settings at their defaults are drawn, too."""
    rng = random.Random(seed)
    cases = []
    settings = {runner: [path for path, _, _ in values(small_config(runner))] for runner in SMALL}
    while len(cases) < count:
        runner = rng.choice(list(SMALL))
        cases.append(Case(runner, rng.choice(settings[runner]), rng.choice(WRONG)))
    return cases


def outcome(call: Callable[[], object]) -> tuple[str, str, float]:
    """Runs a check. Returns "named", "bare", "accepted" or "hang", the message, and the seconds."""
    start = time.perf_counter()
    signal.signal(signal.SIGALRM, _stop)
    signal.alarm(SECONDS)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            call()
        result, message = "accepted", ""
    except (ConfigError, DataError, CheckpointError, NonFiniteLoss) as error:
        result, message = "named", str(error)
    except Hang:
        result, message = "hang", ""
    except BaseException as error:  # whatever else comes out is what is counted
        result, message = "bare", f"{type(error).__name__}: {error}"
    finally:
        signal.alarm(0)
    return result, message, time.perf_counter() - start


def _stop(*_: object) -> None:
    raise Hang


def checked(case: Case) -> tuple[str, str, float]:
    """What `segkit train --check` makes of a case."""
    cfg = copy.deepcopy(small_config(case.runner))
    set_at(cfg, case.path, case.value)
    return outcome(lambda: api.check_data(cfg, device="cpu"))


def nodes(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every dict and list of a config, and its dotted path."""
    yield path, value
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in items:
        if isinstance(inner, dict | list):
            yield from nodes(inner, f"{path}.{key}" if path else str(key))


class Mutant(NamedTuple):
    """A packaged config with a broken structure."""

    config: str
    operation: str
    path: str


def _delete(parent: Any, key: Any) -> None:
    del parent[key]


def _misspell(parent: Any, key: Any) -> None:
    if isinstance(parent, dict):
        parent[f"{key}x"] = parent.pop(key)
    else:
        del parent[key]


def _wrap(parent: Any, key: Any) -> None:
    parent[key] = [parent[key]]


def _replace(value: Any) -> Callable[[Any, Any], None]:
    def change(parent: Any, key: Any) -> None:
        parent[key] = copy.deepcopy(value)

    return change


def _add(parent: Any, key: Any) -> None:
    if isinstance(parent[key], dict):
        parent[key]["surplus"] = 1
    else:
        parent[key] = [*parent[key], "surplus"]


OPERATIONS: dict[str, Callable[[Any, Any], None]] = {
    "delete": _delete,
    "misspell": _misspell,
    "wrap": _wrap,
    "add": _add,
    "none": _replace(None),
    "text": _replace("x"),
    "number": _replace(3),
    "empty dict": _replace({}),
    "empty list": _replace([]),
    "unknown type": _replace({"type": "Nope"}),
    "type of another kind": _replace({"type": "SGD", "lr": 0.1}),
    "type no text": _replace({"type": 3}),
    "numbers as keys": _replace({1: 2}),
}
"""Ways to break a dict or list of a config, each of its parent and the key that it has there."""


def mutants(configs: list[str], count: int, seed: int) -> Iterator[tuple[Mutant, Config]]:
    """Draws configs, a dict or list in each, and an operation on it."""
    rng = random.Random(seed)
    for _ in range(count):
        name = rng.choice(configs)
        cfg = load_config(name)
        thawed = _thawed(dict(cfg))
        path = rng.choice([path for path, _ in nodes(thawed) if path])
        *parents, last = path.split(".")
        parent: Any = thawed
        for key in parents:
            parent = parent[int(key)] if isinstance(parent, list) else parent[key]
        operation = rng.choice(list(OPERATIONS))
        OPERATIONS[operation](parent, int(last) if isinstance(parent, list) else last)
        yield Mutant(name, operation, path), Config(thawed, cfg.file, cfg.origins)


def _thawed(value: Any) -> Any:
    """A copy with lists for tuples."""
    if isinstance(value, dict):
        return {key: _thawed(inner) for key, inner in value.items()}
    return [_thawed(inner) for inner in value] if isinstance(value, list | tuple) else value
