"""Parts of a model that a training leaves as they are: optimizer.freeze."""

from collections.abc import Sequence
from fnmatch import fnmatchcase

from torch import nn

from segkit.models.bases import Network
from segkit.registry import ConfigError, did_you_mean

ENCODER = "encoder"
"""Name that means the model's backbone where the model has no part of that name."""

MOST_NAMES = 12
"""Names that a message lists."""


def freeze(model: nn.Module, patterns: str | Sequence[str]) -> list[str]:
    """Freezes the parts of a model that patterns name.

    Their parameters get no gradient, and modules all of whose parameters are frozen stay in evaluation mode: batch
    normalizations keep their statistics, and nothing is dropped out.

    Args:
        model: the raw module.
        patterns: paths such as "backbone" or "backbone.layer1", which stand for all below them, or patterns of whole
            names of parameters with * in them, such as "*.bias". "encoder" is the backbone.

    Returns:
        The names of the frozen parameters.

    Raises:
        ConfigError: a pattern matches nothing, or nothing is left to train.
    """
    names = [name for name, _ in model.named_parameters()]
    frozen: set[str] = set()
    for pattern in [patterns] if isinstance(patterns, str) else patterns:
        found = _matching(pattern, names) or (_matching("backbone", names) if pattern == ENCODER else [])
        if not found:
            raise ConfigError(f"optimizer.freeze = '{pattern}': the model has no such part{_near(pattern, names)}")
        frozen |= set(found)
    if len(frozen) == len(names):
        raise ConfigError(f"optimizer.freeze = {patterns!r}: nothing is left to train; freeze less of the model")
    for name, parameter in model.named_parameters():
        if name in frozen:
            parameter.requires_grad_(False)
    if isinstance(model, Network):
        model.frozen = tuple(dict.fromkeys((*model.frozen, *_whole_modules(model, frozen))))
        model.train(model.training)
    return sorted(frozen)


def _matching(pattern: str, names: Sequence[str]) -> list[str]:
    if "*" in pattern or "?" in pattern:
        return [name for name in names if fnmatchcase(name, pattern)]
    return [name for name in names if name == pattern or name.startswith(f"{pattern}.")]


def _whole_modules(model: nn.Module, frozen: set[str]) -> list[str]:
    """The outermost modules with parameters, all of which are frozen."""
    whole: list[str] = []
    for path, module in model.named_modules():
        if any(path.startswith(f"{outer}.") for outer in whole):
            continue
        inner = [f"{path}.{name}" for name, _ in module.named_parameters()]
        if path and inner and frozen.issuperset(inner):
            whole.append(path)
    return whole


def _near(pattern: str, names: Sequence[str]) -> str:
    """What the pattern may have meant: a part whose name is close, or ends alike, or else the parts of the model."""
    parts = sorted({".".join(name.split(".")[:depth]) for name in names for depth in range(1, name.count(".") + 2)})
    last = pattern.rpartition(".")[2]
    alike = [part for part in parts if part.rpartition(".")[2] == last]
    if alike:
        return f"; did you mean {' or '.join(map(repr, alike[:3]))}?"
    close = did_you_mean(pattern, parts)
    outer = [part for part in parts if part.count(".") < 2]
    more = ", ..." if len(outer) > MOST_NAMES else ""
    return close or f"; its parts are {', '.join(outer[:MOST_NAMES])}{more}"
