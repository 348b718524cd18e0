"""The shape of a config: which section takes which registry, and a check of all of it before anything is built."""

import inspect
from collections.abc import Callable, Iterable
from typing import Any

from segkit import registry as reg
from segkit.config import SECTIONS, Config
from segkit.registry import ConfigError, Registry, did_you_mean
from segkit.settings import (
    ClickInference,
    EvalSettings,
    InferenceSettings,
    InitSettings,
    LoopSettings,
    ScoredSettings,
    TrainSettings,
    TTASettings,
    WarmupSettings,
    ZoomSettings,
)

SUPPLIED_TO_HEADS = ("in_channels", "num_classes", "align_corners", "strides")
"""Arguments of heads and necks that segkit fills in from the model."""

PLAIN: dict[str, type] = {
    "train": TrainSettings,
    "loop": LoopSettings,
    "inference": InferenceSettings,
    "inference.tta": TTASettings,
    "inference.clicks": ClickInference,
    "inference.clicks.zoom": ZoomSettings,
    "init": InitSettings,
    "schedule.warmup": WarmupSettings,
}

TREE: dict[str, tuple[Registry, tuple[str, ...]]] = {
    "model": (reg.MODELS, ()),
    "model.backbone": (reg.BACKBONES, ()),
    "model.neck": (reg.NECKS, SUPPLIED_TO_HEADS),
    "model.head": (reg.HEADS, SUPPLIED_TO_HEADS),
    "model.aux[]": (reg.HEADS, SUPPLIED_TO_HEADS),
    "losses[]": (reg.LOSSES, ()),
    "weighting": (reg.WEIGHTINGS, ("names", "epoch_steps")),
    "train.dataset": (reg.DATASETS, ()),
    "train.transforms[]": (reg.TRANSFORMS, ()),
    "train.sampler": (reg.SAMPLERS, ("dataset", "seed")),
    "optimizer": (reg.OPTIMIZERS, ("params",)),
    "schedule": (reg.SCHEDULES, ()),
    "inference.refiners[]": (reg.REFINERS, ()),
    "metrics[]": (reg.METRICS, ()),
    "runner": (reg.RUNNERS, ()),
    "hooks[]": (reg.HOOKS, ()),
}
for _part in ("val", "test", "test.*"):
    TREE[f"{_part}.dataset"] = (reg.DATASETS, ())
    TREE[f"{_part}.transforms[]"] = (reg.TRANSFORMS, ())
    PLAIN[_part] = EvalSettings
for _part in ("test", "test.*"):
    PLAIN |= {f"{_part}.{_name}": PLAIN[_name] for _name in list(PLAIN) if _name.startswith("inference")}
    PLAIN[_part] = ScoredSettings

EXTRA_KEYS: dict[str, tuple[str, ...]] = {
    "losses[]": ("on", "target", "weight", "at", "name"),
    "optimizer": ("groups",),
    "schedule": ("warmup",),
}
DEFAULT_TYPES = {"model": "Segmentor", "runner": "Semantic"}
GROUP_KEYS = ("match", "kind", "lr", "decay")


def check(cfg: Config | dict, needed: tuple[str, ...] = ("model",)) -> None:
    """Checks every section against the constructors it names; raises one ConfigError that lists all problems.
    needed: sections that must be there.

    Each line holds the config path, what is wrong, the closest known name and the file the value came from.
    """
    problems: list[tuple[str, str]] = []
    for name in cfg:
        if name not in SECTIONS:
            problems.append((name, f"no such section{did_you_mean(name, SECTIONS)}"))
    for name in SECTIONS:
        if name in cfg and cfg[name] is not None:
            _check_node(cfg[name], name, name, problems)
    for name in needed:
        if name not in cfg:
            problems.append((name, "this section is missing; name a file of configs/_base_/ in _base_"))
    if problems:
        origin = cfg.origin if isinstance(cfg, Config) else lambda path: ""
        lines = [f"{at}: {text}" + (f" [{origin(at)}]" if origin(at) else "") for at, text in problems]
        raise ConfigError("\n".join(lines))


def need_sections(cfg: dict, names: Iterable[str]) -> None:
    """Raises ConfigError for a section that a command cannot do without."""
    for name in names:
        if not cfg.get(name):
            file = cfg.file if isinstance(cfg, Config) else ""
            raise ConfigError(f"{name}: this section is missing in {file or 'the config'}")


def _check_node(value: Any, at: str, pattern: str, problems: list[tuple[str, str]]) -> None:
    """at: path in this config; pattern: its place in TREE (list positions as [], names of test sets as *)."""
    if pattern == "test" and isinstance(value, dict) and "dataset" not in value and value:
        for name, inner in value.items():
            _check_node(inner, f"{at}.{name}", "test.*", problems)
        return
    if f"{pattern}[]" in TREE:
        if not isinstance(value, list | tuple):
            problems.append((at, f"expected a list of dict(type=...), got {value!r}"))
            return
        for i, inner in enumerate(value):
            _check_node(inner, f"{at}.{i}", f"{pattern}[]", problems)
        return
    if pattern not in TREE and pattern not in PLAIN:
        return
    if not isinstance(value, dict):
        problems.append((at, f"expected dict({'type=...' if pattern in TREE else '...'}), got {value!r}"))
        return
    if pattern in PLAIN:
        _check_keys(value, at, PLAIN[pattern], (), problems)
    else:
        kind, supplied = TREE[pattern]
        _check_typed(value, at, kind, (supplied, EXTRA_KEYS.get(pattern, ()), DEFAULT_TYPES.get(pattern)), problems)
    for key, inner in value.items():
        if inner is not None:
            _check_node(inner, f"{at}.{key}", f"{pattern}.{key}", problems)


def _check_typed(value: dict, at: str, kind: Registry, place: tuple, problems: list[tuple[str, str]]) -> None:
    supplied, extra, default_type = place
    name = value.get("type", default_type)
    if name is None:
        problems.append((at, f"type is missing; there are: {', '.join(kind.names())}"))
        return
    try:
        cls = kind.get(name, f"{at}.type")
    except ConfigError as error:
        path, _, text = str(error).partition(" = ")
        problems.append((path, f"= {text}") if text else (at, str(error)))
        return
    for key in value:
        if key in supplied and key not in extra:
            problems.append((f"{at}.{key}", "segkit sets this itself; remove it"))
    own = {k: v for k, v in value.items() if k != "type" and k not in supplied and k not in extra}
    _check_keys(own, at, cls, supplied, problems, known=extra)
    for row in value.get("groups", ()) if "groups" in extra else ():
        for key in row:
            if key not in GROUP_KEYS:
                problems.append((f"{at}.groups", f"no such key '{key}'{did_you_mean(key, GROUP_KEYS)}"))
    # `parts` are built with the object, `configs` stay as they are for it to use later
    for key, registry in (getattr(cls, "parts", {}) | getattr(cls, "configs", {})).items():
        _check_part(own.get(key), f"{at}.{key}", registry, problems)


def _check_part(value: Any, at: str, kind: Registry, problems: list[tuple[str, str]]) -> None:
    """A config inside the arguments of a registered class, which names such arguments in its `parts`."""
    if isinstance(value, list | tuple):
        for i, inner in enumerate(value):
            if kind is reg.LOSSES:
                _check_node(inner, f"{at}.{i}", "losses[]", problems)
            else:
                _check_part(inner, f"{at}.{i}", kind, problems)
    elif kind is reg.MODELS and value is not None:
        _check_node(value, at, "model", problems)
    elif isinstance(value, dict):
        _check_typed(value, at, kind, ((), (), None), problems)


def _check_keys(value: dict, at: str, call: Callable, supplied: tuple, problems: list, known: tuple = ()) -> None:
    parameters = inspect.signature(call).parameters
    names = [n for n in parameters if n not in supplied and n != "self"]
    for key in value:
        if key not in names:
            hint = did_you_mean(key, [*names, *known]) or f"; it has: {', '.join([*names, *known])}"
            problems.append((f"{at}.{key}", f"{call.__name__} has no argument '{key}'{hint}"))
    for name in names:
        parameter = parameters[name]
        variable = parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
        if parameter.default is parameter.empty and name not in value and not variable:
            problems.append((f"{at}.{name}", f"{call.__name__} needs this argument; it has no default"))
