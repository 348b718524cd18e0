"""Steps after the first that train a part of the model alone: runner.train_only, runner.evaluation_mode."""

import re
from collections.abc import Sequence

from torch import nn

from segkit.engine.optim import NORMS
from segkit.models.bases import Network
from segkit.registry import ConfigError

NEW, OLD = "{new}", "{old}"
"""Words of a pattern that stand for the numbers of this step and all later ones, and of the steps before."""


def checked_patterns(patterns: str | Sequence[str]) -> tuple[str, ...]:
    """Returns runner.train_only as a tuple.

    Raises:
        ConfigError: a pattern is no regular expression.
    """
    listed = (patterns,) if isinstance(patterns, str) else tuple(patterns)
    for i, pattern in enumerate(listed):
        try:
            re.compile(_filled(pattern, 1, 2))
        except re.error as error:
            raise ConfigError(
                f"runner.train_only.{i} = '{pattern}': is no regular expression ({error}); parentheses and brackets "
                "come in pairs, and a dot of a name is written \\."
            ) from error
    return listed


def groups_of_step(optimizer: dict, step: int, num_steps: int) -> dict:
    """Returns section `optimizer` with the numbers of the steps in the patterns of its groups, as of train_only."""
    rows = [
        {**row, "match": _filled(row["match"], step, num_steps)} if "match" in row else row
        for row in optimizer.get("groups") or ()
    ]
    return {**optimizer, "groups": rows} if rows else optimizer


def _filled(pattern: str, step: int, num_steps: int) -> str:
    """The pattern with the numbers of the steps in place of {new} and {old}."""
    new, old = range(step, num_steps), range(step)
    return pattern.replace(NEW, f"(?:{'|'.join(map(str, new))})").replace(OLD, f"(?:{'|'.join(map(str, old))})")


def train_only(model: Network, patterns: Sequence[str], step: int, num_steps: int) -> None:
    """Freezes all parameters but those that a pattern finds, in place.

    Modules without a parameter that trains stay in evaluation mode: normalizations keep their statistics, and nothing
    is dropped out.

    Args:
        model: the bare module of the step.
        patterns: regular expressions, searched in the names of the parameters; {new} stands for the numbers of this
            step and those after it, {old} for those before.
        step: number of the step.
        num_steps: of the task.

    Raises:
        ConfigError: a pattern finds no parameter.
    """
    names = [name for name, _ in model.named_parameters()]
    kept: set[str] = set()
    for i, pattern in enumerate(patterns):
        found = {name for name in names if re.search(_filled(pattern, step, num_steps), name)}
        if not found:
            parts = sorted({".".join(name.split(".")[:2]) for name in names})
            raise ConfigError(
                f"runner.train_only.{i} = '{pattern}': finds no parameter in step {step}; their names begin with "
                f"{', '.join(parts[:12])}{', ...' if len(parts) > 12 else ''}"
            )
        kept |= found
    for name, parameter in model.named_parameters():
        if name not in kept:
            parameter.requires_grad_(False)
    _keep_in_evaluation(model, _idle_modules(model))


def _idle_modules(model: nn.Module) -> list[str]:
    """The outermost modules in which no parameter trains, those without parameters (dropout) among them."""
    idle: list[str] = []
    for path, module in model.named_modules():
        if any(path.startswith(f"{outer}.") for outer in idle):
            continue
        if path and not any(parameter.requires_grad for parameter in module.parameters()):
            idle.append(path)
    return idle


def stay_in_evaluation(model: Network) -> None:
    """Keeps the whole model in evaluation mode while it trains, its normalizations as they are, in place."""
    for module in model.modules():
        if isinstance(module, NORMS):
            for parameter in module.parameters(recurse=False):
                parameter.requires_grad_(False)
    _keep_in_evaluation(model, [name for name, _ in model.named_children()])


def _keep_in_evaluation(model: nn.Module, names: Sequence[str]) -> None:
    assert isinstance(model, Network)
    model.untrained |= {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    model.frozen = tuple(dict.fromkeys((*model.frozen, *names)))
    model.train(model.training)
