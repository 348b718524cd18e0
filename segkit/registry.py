"""Registries: a name in a config -> the class of that name; nothing is imported before the first look-up."""

import difflib
import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterable
from typing import Any

from torch import nn


class ConfigError(ValueError):
    """A config that cannot be built. The message names the config path and the way out."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """-> "; did you mean 'x'?" for the closest known name, or "" where none is close."""
    by_lower = {str(other).lower(): str(other) for other in known}
    close = difflib.get_close_matches(str(name).lower(), by_lower, n=1, cutoff=0.6)
    return f"; did you mean '{by_lower[close[0]]}'?" if close else ""


class Registry:
    """Classes of one kind by their names.

    kind: the word errors use ("head"); locations: packages or modules that are imported, sorted, at the first look-up.
    A class from outside segkit is named "my_package.my_module:MyClass" and needs no registration.
    """

    def __init__(self, kind: str, *locations: str):
        self.kind = kind
        self._locations = locations
        self._classes: dict[str, type] = {}
        self._aliases: dict[str, type] = {}
        self._is_loaded = False

    def register(self, cls: type) -> type:
        """Class decorator: stores the class under its own name and returns it unchanged."""
        other = self._classes.get(cls.__name__)
        if other is not None and other.__module__ != cls.__module__:
            raise ValueError(f"{self.kind} '{cls.__name__}' is registered by {other.__module__} and {cls.__module__}")
        self._classes[cls.__name__] = cls
        return cls

    def alias(self, name: str) -> Callable[[type], type]:
        """Class decorator: the class is also known under this name, which lists leave out."""

        def register(cls: type) -> type:
            self._aliases[name] = cls
            return cls

        return register

    def names(self) -> list[str]:
        """Sorted names of all registered classes."""
        self._load()
        return sorted(self._classes)

    def get(self, name: str, at: str = "") -> type:
        """name: registered name or "package.module:Class"; at: config path for the error -> the class."""
        if not isinstance(name, str):
            raise ConfigError(f"{at} = {name!r}: the type of a {self.kind} is a name in quotes")
        if ":" in name:
            return self._from_outside(name, at)
        self._load()
        if name in self._aliases:
            return self._aliases[name]
        if name not in self._classes:
            place = f"{at} = '{name}': " if at else ""
            hint = did_you_mean(name, self._classes) or f"; there are: {', '.join(sorted(self._classes))}"
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
        return getattr(found, attribute)

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
        if not self._is_loaded:
            import torch

            self._is_loaded = True
            for name, cls in vars(torch.optim).items():
                if (
                    isinstance(cls, type)
                    and issubclass(cls, torch.optim.Optimizer)
                    and cls is not torch.optim.Optimizer
                ):
                    self._classes[name] = cls


MODELS = Registry("model", "segkit.models")
BACKBONES = Registry("backbone", "segkit.backbones", "segkit.archs")
NECKS = Registry("neck", "segkit.archs")
HEADS = Registry("head", "segkit.archs")
REFINERS = Registry("refiner", "segkit.refiners")
LOSSES = Registry("loss", "segkit.losses")
WEIGHTINGS = Registry("weighting", "segkit.losses.weighting")
DATASETS = Registry("data set", "segkit.data")
TRANSFORMS = Registry("transform", "segkit.data")
SAMPLERS = Registry("sampler", "segkit.data")
METRICS = Registry("metric", "segkit.metrics")
OPTIMIZERS = TorchOptimizers("optimizer")
SCHEDULES = Registry("schedule", "segkit.engine.schedules")
HOOKS = Registry("hook", "segkit.engine", "segkit.runners")
RUNNERS = Registry("runner", "segkit.runners")


PARTS_OF_MODEL = ("backbone", "neck", "head", "aux")


def build(cfg: dict, kind: Registry, at: str, **supplied: Any) -> Any:
    """cfg: dict(type=..., own arguments); supplied: arguments segkit itself gives, passed where the constructor has
    them -> the object. An error of the constructor is a ConfigError at the config path `at`."""
    own = {key: value for key, value in cfg.items() if key != "type"}
    cls = kind.get(cfg.get("type"), f"{at}.type")
    for key, registry in getattr(cls, "parts", {}).items():
        own[key] = _build_part(own.get(key), registry, f"{at}.{key}")
        if own[key] is None:
            del own[key]
    parameters = inspect.signature(cls).parameters
    own |= {key: value for key, value in supplied.items() if key in parameters}
    try:
        return cls(**own)
    except ConfigError:
        raise
    except (TypeError, ValueError, RuntimeError) as error:
        raise ConfigError(f"{at}: {cls.__name__} cannot be built: {error}") from error


def _build_part(value: Any, kind: Registry, at: str) -> Any:
    if isinstance(value, list | tuple):
        return [_build_part(inner, kind, f"{at}.{i}") for i, inner in enumerate(value)]
    if kind is MODELS and value is not None:
        return build_model(value, at)
    return build(value, kind, at) if isinstance(value, dict) else value


def build_model(cfg: dict, at: str = "model") -> nn.Module:
    """cfg: the section `model` -> the model, with its heads fitted to the backbone's channels."""
    own = {key: value for key, value in cfg.items() if key not in PARTS_OF_MODEL and key != "type"}
    named = {"type": cfg.get("type", "Segmentor"), **own}
    if "backbone" not in cfg:
        return build(named, MODELS, at)
    supplied = {key: own[key] for key in ("num_classes",) if key in own}
    supplied["align_corners"] = own.get("align_corners", False)
    backbone = build(cfg["backbone"], BACKBONES, f"{at}.backbone")
    below = backbone
    parts: dict[str, Any] = {"backbone": backbone}
    if cfg.get("neck") is not None:
        below = build(cfg["neck"], NECKS, f"{at}.neck", **supplied, **_shape_of(backbone))
        parts["neck"] = below
    if cfg.get("head") is not None:
        parts["head"] = build(cfg["head"], HEADS, f"{at}.head", **supplied, **_shape_of(below))
    parts["aux"] = tuple(
        build(head, HEADS, f"{at}.aux.{i}", **supplied, **_shape_of(below)) for i, head in enumerate(cfg.get("aux", ()))
    )
    return build(named, MODELS, at, **parts)


def _shape_of(features: nn.Module) -> dict[str, tuple[int, ...]]:
    return {"in_channels": tuple(features.channels), "strides": tuple(features.strides)}


def without_start_weights(model: dict) -> dict:
    """The section `model` with an encoder of random weights, for models whose weights come from a checkpoint."""
    backbone = model.get("backbone")
    if isinstance(backbone, dict) and backbone.get("pretrained"):
        return {**model, "backbone": {**backbone, "pretrained": None}}
    return model
