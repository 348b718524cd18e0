"""Checks that the rows of losses fit the model: before the start by their names, at the first step by the gradients."""

import fnmatch
from collections.abc import Iterable, Mapping
from typing import Any

from torch import nn

from segkit import dist
from segkit.criterion import complete_row
from segkit.losses.base import Loss, refusal_of_one_channel
from segkit.models.bases import Head
from segkit.registry import HEADS, LOSSES, ConfigError

REMEDY = "add a row to losses that reads it, or remove the head from the model"


def check_rows(cfg: Mapping[str, Any]) -> None:
    """Checks what names alone tell of the rows of losses.

    Args:
        cfg: the checked sections.

    Raises:
        ConfigError: no row reads an auxiliary head; a loss of several classes has the logits of one channel.
    """
    # class steps after the first train with rows of their own
    for at, rows in (("losses", cfg.get("losses")), ("runner.losses", (cfg.get("runner") or {}).get("losses"))):
        if rows:
            _check_section(
                {f"{at}.{i}": complete_row(row, f"{at}.{i}") for i, row in enumerate(rows)}, at, cfg["model"]
            )


def _check_section(rows: Mapping[str, Mapping[str, Any]], at: str, model: Mapping[str, Any]) -> None:
    """rows: by their config paths; at: of all of them."""
    names = [name for row in rows.values() for name in _names(row.get("on", "logits"))]
    for i, head in enumerate(model.get("aux") or ()):
        cls = HEADS.get(head.get("type", ""), f"model.aux.{i}.type")
        predicts = cls.predicts if issubclass(cls, Head) else ()
        if not any(_may_read(name, f"aux{i}") or _is_matched(name, predicts) for name in names):
            shown = ", ".join(map(repr, predicts)) or f"'aux{i}.logits'"
            raise ConfigError(
                f"model.aux.{i} = {head.get('type')}: no row of {at} reads its outputs ({shown}), so that it "
                f"is not trained; add a row to {at} that reads it, or remove the head from the model"
            )
    if model.get("num_classes") == 1:
        for path, row in rows.items():
            _check_one_channel(row, path)


def _names(value: str | Iterable[str] | None) -> list[str]:
    return [] if value is None else [value] if isinstance(value, str) else list(value)


def _may_read(name: str, head: str) -> bool:
    """Whether a name or pattern of a row can mean an output of the head."""
    first, dot, _ = name.partition(".")
    return fnmatch.fnmatchcase(head, first) if dot else fnmatch.fnmatchcase(f"{head}.logits", name)


def _is_matched(name: str, outputs: Iterable[str]) -> bool:
    """Whether a name or pattern of a row means one of the outputs."""
    return any(fnmatch.fnmatchcase(output, name) for output in outputs)


def _check_one_channel(row: Mapping[str, Any], at: str) -> None:
    """Raises ConfigError where a row on logits of one channel, or a loss inside it, has several classes."""
    first = _names(row.get("on", "logits"))[:1]
    if not first or first[0].rpartition(".")[2] != "logits":
        return
    for path, arguments in _losses_in(row, at):
        cls = LOSSES.get(arguments["type"], f"{path}.type")
        instead = cls.instead_of_one_channel(dict(arguments)) if issubclass(cls, Loss) else ""
        if instead:
            raise ConfigError(f"{path} = {refusal_of_one_channel(cls.__name__, instead)}")


def _losses_in(row: Mapping[str, Any], at: str) -> Iterable[tuple[str, Mapping[str, Any]]]:
    """A row, and the losses among its arguments."""
    yield at, row
    for name, registry in getattr(LOSSES.get(row["type"], f"{at}.type"), "parts", {}).items():
        inner = row.get(name)
        if registry is LOSSES and isinstance(inner, Mapping):
            yield from _losses_in(inner, f"{at}.{name}")


def check_gradients(model: nn.Module) -> None:
    """Checks after the first backward pass, before weights change, that the losses train what is to be trained.

    A head without any gradient is an error on one process as well; any other weight under torchrun alone, where the
    processes wait for the gradients of all of them.

    Args:
        model: the raw module, with the gradients of one step.

    Raises:
        ConfigError: names the head or the weights, and the way out.
    """
    idle = _largest_idle(model)
    for name, module in idle.items():
        heads = [inner for inner, part in module.named_modules() if isinstance(part, Head)]
        if heads:
            path = f"model.{'.'.join(filter(None, (name, heads[0])))}"
            kind = type(module.get_submodule(heads[0])).__name__
            raise ConfigError(
                f"{path} = {kind}: none of its weights gets a gradient, since no row of losses reads it; {REMEDY}"
            )
    missing = [name for name, weight in model.named_parameters() if weight.requires_grad and weight.grad is None]
    if missing and dist.is_distributed():
        where = next(iter(idle), missing[0])
        raise ConfigError(
            f"model.{where}: {len(missing)} weights get no gradient from the losses (first: {missing[0]}), and "
            "processes that train together wait for every weight; add a row of losses that reads what they compute, "
            "remove or freeze them, or train on one process"
        )


def _largest_idle(model: nn.Module) -> dict[str, nn.Module]:
    """The outermost modules with weights to train, none of which has a gradient, by their names."""
    idle: dict[str, nn.Module] = {}
    for name, module in model.named_modules():
        if any(name.startswith(f"{outer}.") or not outer for outer in idle):
            continue
        weights = [weight for weight in module.parameters() if weight.requires_grad]
        if weights and all(weight.grad is None for weight in weights):
            idle[name] = module
    return idle
