"""From checked config parts to objects; classes are named through the registries only."""

import inspect
from typing import Any

from torch import nn

from segkit.registry import BACKBONES, HEADS, MODELS, NECKS, ConfigError, Registry

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
