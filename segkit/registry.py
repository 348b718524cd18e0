"""Registries map the `type` of a config to a class, and build objects from checked configs.

Nothing is imported before the first look-up.
"""

import difflib
import importlib
import inspect
import os
import pkgutil
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from segkit.models.bases import Network

Registered = TypeVar("Registered", bound=type)


class ConfigError(ValueError):
    """A config that cannot be built. The message names the config path and the way out."""


class LevelError(ValueError):
    """A neck or head reads a feature map, or a stride, that the backbone does not have."""


def did_you_mean(name: object, known: Iterable[object]) -> str:
    """Returns "; did you mean 'x'?" for the known name that is closest, or "" where none is close."""
    by_lower = {str(other).lower(): str(other) for other in known}
    close = difflib.get_close_matches(str(name).lower(), by_lower, n=1, cutoff=0.6)
    return f"; did you mean '{by_lower[close[0]]}'?" if close else ""


class Registry:
    """The classes of one kind by name.

    A class from outside segkit is named "my_package.my_module:MyClass" and needs no registration.

    Args:
        kind: the word for errors, such as "head".
        locations: packages or modules that are imported, in alphabetical order with all their sub-packages, at the
            first look-up.
        base: "module:Class" that classes from outside derive from; "" for any class.
    """

    def __init__(self, kind: str, *locations: str, base: str = ""):
        self.kind = kind
        self._base = base
        self._locations = locations
        self._classes: dict[str, type] = {}
        self._aliases: dict[str, type] = {}
        self._is_loaded = False

    def register(self, cls: Registered) -> Registered:
        """Class decorator: stores the class under its own name and returns it unchanged."""
        other = self._classes.get(cls.__name__)
        if other is not None and other.__module__ != cls.__module__:
            raise ValueError(f"{self.kind} '{cls.__name__}' is registered by {other.__module__} and {cls.__module__}")
        self._classes[cls.__name__] = cls
        return cls

    def alias(self, name: str) -> Callable[[Registered], Registered]:
        """Class decorator: the class is found under this second name too, which lists leave out."""

        def register(cls: Registered) -> Registered:
            self._aliases[name] = cls
            return cls

        return register

    def names(self) -> list[str]:
        """Returns the sorted names of all registered classes."""
        self._load()
        return sorted(self._classes)

    def get(self, name: Any, at: str = "") -> type:
        """Finds a class.

        Args:
            name: a registered name, or "package.module:Class".
            at: config path for the error.

        Raises:
            ConfigError: there is no such class, or one from outside does not derive from the registry's base.
        """
        if not isinstance(name, str):
            raise ConfigError(f"{at} = {name!r}: the type of a {self.kind} must be a name in quotes")
        if ":" in name:
            return self._from_outside(name, at)
        self._load()
        if name in self._aliases:
            return self._aliases[name]
        if name not in self._classes:
            place = f"{at} = '{name}': " if at else ""
            hint = did_you_mean(name, self._classes) or f"; available: {', '.join(sorted(self._classes))}"
            raise ConfigError(f"{place}no such {self.kind}{hint}")
        return self._classes[name]

    def _from_outside(self, name: str, at: str) -> type:
        module, _, attribute = name.partition(":")
        try:
            found = importlib.import_module(module)
        except (ImportError, AttributeError) as error:
            raise ConfigError(
                f"{at} = '{name}': {error}; is its package installed, beside the config, or on PYTHONPATH?"
            ) from error
        if not hasattr(found, attribute):
            source = getattr(found, "__file__", None) or module
            raise ConfigError(f"{at} = '{name}': {source} has no '{attribute}'{did_you_mean(attribute, vars(found))}")
        cls = getattr(found, attribute)
        if not isinstance(cls, type):
            raise ConfigError(f"{at} = '{name}': is no class; the type of a {self.kind} must name one")
        module, _, base = self._base.partition(":")
        if base and not issubclass(cls, getattr(importlib.import_module(module), base)):
            way_out = "give it a method __call__" if base == "Callable" else f"derive it from {module}.{base}"
            raise ConfigError(f"{at} = '{name}': this class is no {self.kind}; {way_out}")
        return cls

    def _load(self) -> None:
        if self._is_loaded:
            return
        self._is_loaded = True
        for location in self._locations:
            module = importlib.import_module(location)
            if hasattr(module, "__path__"):
                for info in sorted(pkgutil.walk_packages(module.__path__, f"{location}."), key=lambda info: info.name):
                    importlib.import_module(info.name)


class TorchOptimizers(Registry):
    """The optimizers of torch.optim by their own names, and classes from outside."""

    def _load(self) -> None:
        if self._is_loaded:
            return
        import torch

        self._is_loaded = True
        base = torch.optim.Optimizer
        for name, cls in vars(torch.optim).items():
            if isinstance(cls, type) and issubclass(cls, base) and cls is not base:
                self._classes[name] = cls


MODELS = Registry("model", "segkit.models", base="segkit.models.bases:Network")
BACKBONES = Registry("backbone", "segkit.backbones", "segkit.archs", base="segkit.models.bases:Backbone")
NECKS = Registry("neck", "segkit.archs", base="torch.nn:Module")
HEADS = Registry("head", "segkit.archs", base="segkit.models.bases:Head")
REFINERS = Registry("refiner", "segkit.refiners", base="segkit.refiners.base:Refiner")
LOSSES = Registry("loss", "segkit.losses", base="torch.nn:Module")
WEIGHTINGS = Registry("weighting", "segkit.losses.weighting", base="segkit.losses.weighting:Weighting")
DATASETS = Registry("data set", "segkit.data", base="segkit.data.dataset:Dataset")
TRANSFORMS = Registry("transform", "segkit.data", base="collections.abc:Callable")
SAMPLERS = Registry("sampler", "segkit.data", base="segkit.data.samplers:Sampler")
METRICS = Registry("metric", "segkit.metrics", base="segkit.metrics.base:Metric")
OPTIMIZERS = TorchOptimizers("optimizer", base="torch.optim:Optimizer")
SCHEDULES = Registry("schedule", "segkit.engine.schedules", base="segkit.engine.schedules:Schedule")
HOOKS = Registry("hook", "segkit.engine", "segkit.runners", base="segkit.engine.hooks:Hook")
RUNNERS = Registry("runner", "segkit.runners", base="segkit.runners.base:Runner")

PARTS_OF_MODEL = ("backbone", "neck", "head", "aux")


def build(cfg: dict, kind: Registry, at: str, **supplied: Any) -> Any:
    """Builds an object from its config.

    Arguments that the class names in its attribute `parts` ({argument: registry}) are configs too and are built first.

    Args:
        cfg: dict(type=..., arguments).
        kind: registry of the type.
        at: config path for errors.
        supplied: arguments that segkit itself gives, passed where the constructor has them.

    Raises:
        ConfigError: there is no such type, or the constructor fails.
    """
    kwargs = {key: value for key, value in cfg.items() if key != "type"}
    cls = kind.get(cfg.get("type"), f"{at}.type")
    for key, registry in getattr(cls, "parts", {}).items():
        kwargs[key] = _build_part(kwargs.get(key), registry, f"{at}.{key}")
        if kwargs[key] is None:
            del kwargs[key]
    parameters = inspect.signature(cls).parameters
    kwargs |= {key: value for key, value in supplied.items() if key in parameters}
    try:
        return cls(**kwargs)
    except ConfigError:
        raise
    except (TypeError, ValueError, RuntimeError) as error:
        remedy = PYRAMID if isinstance(error, LevelError) and _is_flat(supplied.get("strides", ())) else ""
        raise ConfigError(f"{at}: {cls.__name__} cannot be built: {error}{remedy}") from error
    except (LookupError, ArithmeticError, AttributeError, MemoryError) as error:  # says little without its name
        raise ConfigError(f"{at}: {cls.__name__} cannot be built: {type(error).__name__}: {error}") from error


PYRAMID = (
    ". All maps of this backbone have one stride, as those of a plain Vision Transformer: for a pyramid set "
    "model.neck = dict(type='SimplePyramid'), or backbone.out_indices to four of its blocks, such as (2, 5, 8, 11), "
    "and model.neck = dict(type='MultiLevelNeck')"
)

OWN_PYRAMID = "SimplePyramid"
"""The neck of a model whose config names none, where its head needs a pyramid and the backbone gives none."""


def _is_flat(strides: tuple[int, ...]) -> bool:
    return len(strides) > 1 and len(set(strides)) == 1


def _build_part(value: Any, kind: Registry, at: str) -> Any:
    if isinstance(value, list | tuple):
        return [_build_part(inner, kind, f"{at}.{i}") for i, inner in enumerate(value)]
    if kind is MODELS and value is not None:
        return build_model(value, at)
    return build(value, kind, at) if isinstance(value, dict) else value


def each_object(cfg: dict, kind: Registry, change: Callable[[dict, frozenset[str], str], dict], at: str = "") -> dict:
    """Returns a config in which a function has changed the object and all objects inside it.

    Args:
        cfg: dict(type=..., arguments); it stays as it is.
        kind: registry of the type.
        change: takes a config, the names of its constructor's arguments and its config path, and returns a config.
        at: config path of `cfg`.

    Raises:
        ConfigError: there is no such type.
    """
    cls = kind.get(cfg.get("type"), f"{at}.type")

    def inside(value: Any, registry: Registry, place: str) -> Any:
        if isinstance(value, list | tuple):
            return [inside(item, registry, f"{place}.{i}") for i, item in enumerate(value)]
        is_object = isinstance(value, dict) and "type" in value
        return each_object(value, registry, change, place) if is_object else value

    inner = {
        key: inside(cfg[key], kind, f"{at}.{key}") for key, kind in getattr(cls, "parts", {}).items() if key in cfg
    }
    return change({**cfg, **inner}, frozenset(inspect.signature(cls).parameters), at)


def build_model(cfg: dict, at: str = "model") -> "Network":
    """Builds the model of a config, its neck and heads fitted to the channels and strides of the backbone.

    A head that needs a pyramid gets one of a plain Vision Transformer's maps where the config says nothing of a neck;
    the model says so in its notes. With neck=None there is none.

    Args:
        cfg: section `model`.
        at: config path for errors.
    """
    kwargs = {key: value for key, value in cfg.items() if key not in PARTS_OF_MODEL and key != "type"}
    named = {"type": cfg.get("type", "Segmentor"), **kwargs}
    if "backbone" not in cfg:
        return build(named, MODELS, at)
    supplied = {key: kwargs[key] for key in ("num_classes",) if key in kwargs}
    supplied["align_corners"] = kwargs.get("align_corners", False)
    backbone = build(cfg["backbone"], BACKBONES, f"{at}.backbone")
    features = backbone
    modules: dict[str, Any] = {"backbone": backbone}
    neck = cfg.get("neck")
    is_own = "neck" not in cfg and _needs_pyramid(cfg.get("head"), f"{at}.head", supplied, _shape_of(backbone))
    if is_own:
        neck = {"type": OWN_PYRAMID}
    if neck is not None:
        features = build(neck, NECKS, f"{at}.neck", **supplied, **_shape_of(backbone))
        modules["neck"] = features
    if cfg.get("head") is not None:
        modules["head"] = build(cfg["head"], HEADS, f"{at}.head", **supplied, **_shape_of(features))
    modules["aux"] = tuple(
        build(head, HEADS, f"{at}.aux.{i}", **supplied, **_shape_of(features))
        for i, head in enumerate(cfg.get("aux", ()))
    )
    model: Network = build(named, MODELS, at, **modules)
    if is_own:
        model.notes += (
            f"{at}.neck = dict(type='{OWN_PYRAMID}') makes a pyramid of the backbone's last map, since "
            f"{cfg['head']['type']} needs one and all maps have stride {backbone.strides[-1]}; name another neck, or "
            "None for none",
        )
    return model


def _needs_pyramid(head: dict | None, at: str, supplied: dict[str, Any], shape: dict[str, tuple[int, ...]]) -> bool:
    """Whether a head is of no use on maps of one stride, or cannot be built on them at all."""
    if head is None or not _is_flat(shape["strides"]):
        return False
    if getattr(HEADS.get(head.get("type"), f"{at}.type"), "needs_pyramid", False):
        return True
    import torch

    try:
        with torch.device("meta"):
            build(head, HEADS, at, **supplied, **shape)
    except ConfigError as error:
        return isinstance(error.__cause__, LevelError)
    return False


def _shape_of(features: Any) -> dict[str, tuple[int, ...]]:
    """What a head or neck is told of the backbone or neck below it."""
    return {"in_channels": tuple(features.channels), "strides": tuple(features.strides)}


def with_contents(model: dict) -> dict:
    """Returns the section `model` with the content of the files that describe its backbones in place of their paths."""
    backbone, stages = model.get("backbone"), model.get("stages")
    if isinstance(backbone, dict):
        # a class from outside may have no such attribute
        readers = getattr(BACKBONES.get(backbone.get("type"), "model.backbone.type"), "files", {})
        contents = {
            key: read(backbone[key])
            for key, read in readers.items()
            if isinstance(backbone.get(key), str | os.PathLike)
        }
        model = {**model, "backbone": {**backbone, **contents}}
    if isinstance(stages, list | tuple):
        model = {**model, "stages": [with_contents(s) if isinstance(s, dict) else s for s in stages]}
    return model


def without_start_weights(model: dict) -> dict:
    """Returns the section `model` with encoders of random weights, for weights that come from a checkpoint."""
    return _without_weights(model, bool)


def without_downloads(model: dict) -> dict:
    """Returns the section `model` with random weights in place of those to be fetched; those of files stay."""
    return _without_weights(model, lambda pretrained: pretrained is True)


def _without_weights(model: dict, goes: Callable[[Any], bool]) -> dict:
    """goes: says of the value of `pretrained` whether it becomes None."""
    backbone, stages = model.get("backbone"), model.get("stages")
    if isinstance(backbone, dict) and goes(backbone.get("pretrained")):
        model = {**model, "backbone": {**backbone, "pretrained": None}}
    if goes(model.get("pretrained")):  # of a model without a backbone
        model = {**model, "pretrained": None}
    if isinstance(stages, list | tuple):
        model = {**model, "stages": [_without_weights(s, goes) if isinstance(s, dict) else s for s in stages]}
    return model
