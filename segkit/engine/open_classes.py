"""Configs that leave the number of classes open, as those of _base_/models do, for weights that tell it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn

from segkit.config import Config, load_config
from segkit.convert.count_classes import count_classes
from segkit.engine.checkpoint import scored_weights
from segkit.registry import ConfigError, build_model, without_start_weights


def load_for_weights(config: str | Path, options: Sequence[str], content: dict[str, Any], path: str | Path) -> Config:
    """Loads a config for the weights of a checkpoint; `num_classes` comes from there where the config has a ref() only.

    Args:
        config: the config file.
        options: "a.b=value" that win.
        content: of the checkpoint.
        path: its file, for errors.

    Raises:
        ConfigError: the config is wrong, or leaves `num_classes` open and the checkpoint does not tell it either.
    """
    try:
        return load_config(config, tuple(options))
    except ConfigError as error:
        first = error

    def load(classes: int) -> Config:
        return load_config(config, (f"num_classes={classes}", *options))

    def build(classes: int) -> nn.Module:
        return build_model(without_start_weights(load(classes)["model"]))

    try:
        load(2)
    except ConfigError:
        raise first from None  # num_classes is not what it lacks
    weights = scored_weights(content)
    classes = _stated(content) or count_classes(weights, build)
    if classes is None:
        raise ConfigError(
            f"{config}: leaves num_classes open, and the weights in {path} do not tell it for this network; is it the "
            "config of these weights? Set it with --cfg-options num_classes=K"
        ) from first
    return load(classes)


def _stated(content: dict[str, Any]) -> int | None:
    """The number in the checkpoint's own config."""
    model = (content.get("config") or {}).get("model")
    classes = model.get("num_classes") if isinstance(model, dict) else None
    return classes if type(classes) is int and classes > 0 else None
