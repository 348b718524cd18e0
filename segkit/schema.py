"""The structure of a config: which section belongs to which registry, and a check of it before anything is built."""

import inspect
from collections.abc import Collection, Iterable, Sequence
from typing import Annotated, Any, NamedTuple, TypeAlias, get_origin

from segkit import registry as reg
from segkit.config import SECTIONS, Config
from segkit.constraints.check import Fault, annotations, fault
from segkit.constraints.named import Decay, NonNegativeFloat, Range
from segkit.files import check_plain, foreign_code, shortened
from segkit.registry import ConfigError, Registry, did_you_mean
from segkit.settings import (
    ClickInference,
    EvalSettings,
    GroupSettings,
    InferenceSettings,
    InitSettings,
    LayerDecaySettings,
    LoopSettings,
    LoraSettings,
    OptimizerSettings,
    RowSettings,
    ScoredSettings,
    TrainSettings,
    TTASettings,
    WarmupSettings,
    WeightSettings,
    ZoomSettings,
)

OPTIMIZER_RANGES = {
    "lr": Annotated[float, Range(0, 1_000_000)],
    "weight_decay": NonNegativeFloat,
    "momentum": Decay,
    "eps": NonNegativeFloat,
}
"""What the arguments of torch's optimizers may be, whose annotations say no more than their types."""

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
    "losses[].weight": WeightSettings,
    "optimizer.groups[]": GroupSettings,
    "optimizer.layer_decay": LayerDecaySettings,
    "optimizer.lora": LoraSettings,
}
"""Sections with a fixed set of keys, by position in the config."""


class Node(NamedTuple):
    """A position in the config that holds a dict(type=..., arguments).

    Attributes:
        registry: of the type.
        supplied: arguments that segkit fills in.
    """

    registry: Registry
    supplied: tuple[str, ...] = ()


TREE: dict[str, Node] = {
    "model": Node(reg.MODELS),
    "model.backbone": Node(reg.BACKBONES),
    "model.neck": Node(reg.NECKS, SUPPLIED_TO_HEADS),
    "model.head": Node(reg.HEADS, SUPPLIED_TO_HEADS),
    "model.aux[]": Node(reg.HEADS, SUPPLIED_TO_HEADS),
    "losses[]": Node(reg.LOSSES),
    "weighting": Node(reg.WEIGHTINGS, ("names", "epoch_steps")),
    "train.dataset": Node(reg.DATASETS),
    "train.transforms[]": Node(reg.TRANSFORMS),
    "train.sampler": Node(reg.SAMPLERS, ("dataset", "seed")),
    "optimizer": Node(reg.OPTIMIZERS, ("params",)),
    "schedule": Node(reg.SCHEDULES),
    "inference.refiners[]": Node(reg.REFINERS),
    "metrics[]": Node(reg.METRICS),
    "runner": Node(reg.RUNNERS),
    "hooks[]": Node(reg.HOOKS),
}
"""Positions of objects of a registry; [] stands for a position in a list, * for the name of a test set."""

for _section in ("val", "test", "test.*"):
    TREE[f"{_section}.dataset"] = Node(reg.DATASETS)
    TREE[f"{_section}.transforms[]"] = Node(reg.TRANSFORMS)
    PLAIN[_section] = EvalSettings
for _section in ("test", "test.*"):
    PLAIN |= {f"{_section}.{_name}": PLAIN[_name] for _name in list(PLAIN) if _name.startswith("inference")}
    PLAIN[_section] = ScoredSettings

EXTRA_KEYS: dict[str, tuple[str, ...]] = {
    "losses[]": ("on", "target", "weight", "at", "name"),
    "optimizer": ("groups", "layer_decay", "freeze", "lora"),
    "schedule": ("warmup",),
}
"""Keys beside the constructor's arguments, by position in the config."""

DEFAULT_TYPES = {"model": "Segmentor", "runner": "Semantic"}
"""Types of sections that may leave out `type`."""

CLASS_WEIGHTS = ("class_weight", "alpha")
"""Arguments of losses that may be the name of a law in a config; the training replaces it by one number per class."""

FOLDS = (
    "; in a config file dict(folds=5, fold=0) wraps the data set; in sections made by hand write that out: "
    "dict(type='Fold', dataset=dict(type=...), folds=5, fold=0) or dict(type='Split', dataset=dict(type=...), "
    "part='train')"
)
"""What to do about a split that is a dict in sections that no config file was read for; see readers/short_forms.py."""

MOST_LINES = 100
"""Problems that a message lists."""

Problems: TypeAlias = list[tuple[str, str]]
"""Config path and message of each problem that was found."""


def check(cfg: Config | dict, needed: tuple[str, ...] = ("model",)) -> None:
    """Checks every section against the constructors that it names.

    Args:
        cfg: the sections.
        needed: sections that must be present.

    Raises:
        ConfigError: lists all problems, one line each with the config path, what is wrong, the closest known name, and
            the file that the value came from.
    """
    problems: Problems = []
    for name in cfg:
        if name not in SECTIONS:
            problems.append((name, f"no such section{did_you_mean(name, SECTIONS)}"))
    for name in SECTIONS:
        if name in cfg and cfg[name] is not None:
            _check_node(cfg[name], name, name, problems)
    for name in needed:
        if cfg.get(name) is None:
            problems.append((name, "this section is missing; add it, or name a file of configs/_base_/ in _base_"))
    if problems:
        origin = cfg.origin if isinstance(cfg, Config) else lambda path: ""
        lines = []
        for at, text in problems:
            source = f" [{origin(at)}]" if origin(at) else ""
            lines.append(shortened(f"{at}{'' if text.startswith('= ') else ':'} {text}") + source)
        if len(lines) > MOST_LINES:
            lines[MOST_LINES:] = [f"and {len(lines) - MOST_LINES} more"]
        raise ConfigError("\n".join(lines))


def check_foreign(cfg: dict, file: str) -> None:
    """Checks that a config out of a file names registered classes alone; nothing is imported.

    Args:
        cfg: the sections in a checkpoint.
        file: the checkpoint, for the error.

    Raises:
        ConfigError: a class, function or encoder from outside of segkit; the message says how to allow it.
    """
    check_plain(cfg, f"{file}, 'config'", ConfigError)
    found = foreign_code(cfg)
    if found is not None:
        at, name = found
        raise ConfigError(
            f"{file}: the config in this file names {shortened(repr(name), 200)} at {shortened(at, 200)}, code outside "
            "of segkit that would run; allow it with --trust (in Python trust=True) where you trust who made the file"
        )


def need_sections(cfg: dict, names: Iterable[str]) -> None:
    """Checks that the sections which a command needs are present.

    Args:
        cfg: the sections.
        names: of the needed ones.

    Raises:
        ConfigError: one is missing or empty.
    """
    for name in names:
        if not cfg.get(name):
            file = cfg.file if isinstance(cfg, Config) else ""
            raise ConfigError(f"{name}: this section is missing in {file or 'the config'}")


def _check_node(value: Any, at: str, pattern: str, problems: Problems) -> None:
    """at: path in this config; pattern: its position in TREE (list positions as [], names of test sets as *)."""
    if pattern == "test" and isinstance(value, dict) and "dataset" not in value and value:
        for name, inner in value.items():
            _check_node(inner, f"{at}.{name}", "test.*", problems)
        return
    if f"{pattern}[]" in TREE or f"{pattern}[]" in PLAIN:
        if not isinstance(value, list | tuple):
            if at not in dict(problems):
                problems.append((at, f"expected a list of dict(type=...), got {value!r}"))
            return
        for i, inner in enumerate(value):
            _check_node(inner, f"{at}.{i}", f"{pattern}[]", problems)
        return
    if pattern not in TREE and pattern not in PLAIN:
        return
    if pattern == "losses[].weight" and not isinstance(value, dict):
        return
    if not isinstance(value, dict):
        problems.append((at, f"expected dict({'type=...' if pattern in TREE else '...'}), got {value!r}"))
        return
    if pattern in PLAIN:
        _check_keys(value, at, PLAIN[pattern], problems)
        _check_values(value, at, PLAIN[pattern], (), problems)
    else:
        if pattern == "losses[]":
            _check_values(value, at, RowSettings, (), problems)
        if pattern == "optimizer":
            _check_values(value, at, OptimizerSettings, (), problems)
        node = TREE[pattern]
        _check_typed(
            value,
            at,
            node.registry,
            problems,
            supplied=node.supplied,
            extra=EXTRA_KEYS.get(pattern, ()),
            default_type=DEFAULT_TYPES.get(pattern),
            children=[key for key in value if f"{pattern}.{key}" in TREE or f"{pattern}.{key}[]" in TREE],
        )
    for key, inner in value.items():
        if inner is not None:
            _check_node(inner, f"{at}.{key}", f"{pattern}.{key}", problems)


def _check_typed(
    value: dict,
    at: str,
    registry: Registry,
    problems: Problems,
    *,
    supplied: tuple[str, ...] = (),
    extra: tuple[str, ...] = (),
    default_type: str | None = None,
    children: Collection[str] = (),
) -> None:
    """Checks a dict(type=..., arguments).

    supplied: arguments that segkit fills in; extra: keys that are no arguments; default_type: where `type` is left out;
    children: arguments that are objects of a registry, checked by themselves.
    """
    name = value.get("type", default_type)
    if name is None:
        problems.append((at, f"type is missing; available: {', '.join(registry.names())}"))
        return
    try:
        cls = registry.get(name, f"{at}.type")
    except ConfigError as error:
        path, _, text = str(error).partition(" = ")
        problems.append((path, f"= {text}") if text else (at, str(error)))
        return
    for key in value:
        if key in supplied and key not in extra:
            problems.append((f"{at}.{key}", "segkit sets this itself; remove it"))
    kwargs = {k: v for k, v in value.items() if k != "type" and k not in supplied and k not in extra}
    _check_keys(kwargs, at, cls, problems, supplied=supplied, extra=extra)
    inner_configs = getattr(cls, "parts", {}) | getattr(cls, "configs", {})
    laws = [key for key in CLASS_WEIGHTS if registry is reg.LOSSES and isinstance(kwargs.get(key), str)]
    _check_values(kwargs, at, cls, [*inner_configs, *children, *laws], problems)
    # `parts` are built with the object, `configs` stay as they are for it to use later
    signature = inspect.signature(cls).parameters
    for key, inner_registry in inner_configs.items():
        is_needed = key in signature and signature[key].default is inspect.Parameter.empty
        if kwargs.get(key) is not None or (key in kwargs and is_needed):
            _check_part_form(kwargs[key], f"{at}.{key}", signature[key], problems)
        _check_part(kwargs.get(key), f"{at}.{key}", inner_registry, problems)


def _check_part_form(value: Any, at: str, parameter: inspect.Parameter, problems: Problems) -> None:
    """Checks that a config among arguments is a dict, or a list of dicts where the constructor takes a sequence."""
    takes_list = get_origin(parameter.annotation) in (list, Sequence)
    is_list = isinstance(value, list | tuple)
    if is_list and isinstance(parameter.annotation, type) and not issubclass(parameter.annotation, list | tuple | dict):
        problems.append((at, f"expected dict(type=...), got {value!r}"))
        return
    for place, item in [(f"{at}.{i}", item) for i, item in enumerate(value)] if is_list else [(at, value)]:
        if not isinstance(item, dict):
            problems.append((place, f"expected dict(type=...), got {item!r}"))
        elif takes_list and not is_list:
            problems.append((place, f"expected a list of dict(type=...), got {item!r}"))


def _check_part(value: Any, at: str, registry: Registry, problems: Problems) -> None:
    """Checks a config among the arguments of a registered class, which names such arguments in its `parts`."""
    if isinstance(value, list | tuple):
        for i, inner in enumerate(value):
            if registry is reg.LOSSES:
                _check_node(inner, f"{at}.{i}", "losses[]", problems)
            else:
                _check_part(inner, f"{at}.{i}", registry, problems)
    elif registry is reg.MODELS and value is not None:
        _check_node(value, at, "model", problems)
    elif isinstance(value, dict):
        supplied = TREE["train.sampler"].supplied if registry is reg.SAMPLERS else ()
        _check_typed(value, at, registry, problems, supplied=supplied)


def _check_keys(
    value: dict,
    at: str,
    cls: type,
    problems: Problems,
    *,
    supplied: tuple[str, ...] = (),
    extra: tuple[str, ...] = (),
) -> None:
    """Compares keys with the arguments of a constructor; extra: other keys to name in hints."""
    parameters = inspect.signature(cls).parameters
    names = [n for n in parameters if n not in supplied and n != "self"]
    for key in value:
        if key not in names:
            hint = did_you_mean(key, [*names, *extra]) or f"; available: {', '.join([*names, *extra])}"
            problems.append((f"{at}.{key}", f"{cls.__name__} has no argument '{key}'{hint}"))
    for name in names:
        parameter = parameters[name]
        is_variable = parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
        if parameter.default is parameter.empty and name not in value and not is_variable:
            problems.append((f"{at}.{name}", f"{cls.__name__} needs this argument; it has no default"))


def _check_values(value: dict, at: str, cls: type, skipped: Collection[str], problems: Problems) -> None:
    """Compares values with the annotations of a dataclass or constructor; skipped: keys of which others know."""
    hints = needs_of(cls)
    for key, inner in value.items():
        if key in skipped or key not in hints:
            continue
        found = fault(inner, hints[key])
        if found is not None:
            remedy = FOLDS if key == "split" and isinstance(inner, dict) else _remedy(found)
            problems.append((f"{at}.{key}{found.path}", f"= {found.value!r}: must be {found.needs}{remedy}"))


def needs_of(cls: type) -> dict[str, Any]:
    """Returns the annotations of a class's constructor; those of torch's optimizers with ranges of segkit."""
    hints = annotations(cls)
    return {**hints, **{k: v for k, v in OPTIMIZER_RANGES.items() if k in hints}} if _is_of_torch(cls) else hints


def _is_of_torch(cls: type) -> bool:
    return cls.__module__.startswith("torch.optim")


def _remedy(found: Fault) -> str:
    """What to do about a number that is written as text, the commonest fault."""
    if isinstance(found.value, str) and "number" in found.needs:
        try:
            float(found.value)
        except ValueError:
            return ""
        return "; write it without quotes"
    return ""
