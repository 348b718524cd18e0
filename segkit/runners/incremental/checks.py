"""What of the later class steps can be known to fail before the first one trains: sections, growth, names."""

import inspect
from collections.abc import Callable

import torch
from torch import nn

from segkit.config import SECTIONS
from segkit.criterion import complete_row
from segkit.data.incremental.plan import ClassPlan
from segkit.models import growing_segmentor
from segkit.registry import ConfigError, build_model, did_you_mean, without_start_weights
from segkit.runners.incremental.regularisers import REGULARISERS
from segkit.runners.incremental.steps import model_section
from segkit.schema import check

SIDE = 128
GIVEN = ("self", "model", "old", "saved")
"""Arguments that a regulariser gets from the runner."""


def check_penalty(section: dict | None) -> None:
    """section: runner.regulariser. ConfigError for a type or an argument that is not there."""
    if section is None:
        return
    kind = section.get("type") if isinstance(section, dict) else section
    if kind not in REGULARISERS:
        names = ", ".join(REGULARISERS)
        raise ConfigError(f"runner.regulariser.type = {kind!r}{did_you_mean(kind, REGULARISERS)}; there are {names}")
    known = [name for name in inspect.signature(REGULARISERS[kind]).parameters if name not in GIVEN]
    for name in section:
        if name != "type" and name not in known:
            raise ConfigError(
                f"runner.regulariser.{name}: {kind} takes no such argument{did_you_mean(name, known)}; it takes "
                f"{', '.join(known)}"
            )


def check_later(cfg: dict, overrides: dict, later: dict) -> None:
    """cfg: the config; overrides: of a later step; later: runner.later. ConfigError for sections that cannot be."""
    for name in later:
        if name not in SECTIONS:
            raise ConfigError(f"runner.later.{name}: no such section{did_you_mean(name, SECTIONS)}")
    try:
        check({**cfg, **overrides})
    except ConfigError as error:
        raise ConfigError(
            f"the config of the steps after the first, with runner.later and runner.losses:\n{error}"
        ) from error


def check_growth(cfg: dict, plan: ClassPlan, init: Callable[[nn.Module], None], rows: list[dict]) -> None:
    """Grows the model without weights through all steps. init: of new outputs; rows: runner.losses. ConfigError where
    its classifier cannot grow or start like that, or a row names an output of the teacher that it does not have."""
    with torch.device("meta"):
        model = build_model(without_start_weights(model_section(cfg["model"], plan, 0)))
        outputs = _outputs(model)
        for number in range(1, len(plan.steps)):
            growing_segmentor.grow(model, len(plan.steps[number]))
            init(model)
    levels = [f"features.{i}" for i in range(len(model.backbone.channels))]
    for i, row in enumerate(rows):
        on = complete_row(row, f"runner.losses.{i}").get("on", ())
        for name in [on] if isinstance(on, str) else on:
            own = name.removeprefix("teacher.")
            is_map = own.startswith("features.")
            known = levels if is_map else outputs
            if (is_map or own != name) and known is not None and own not in known:
                raise ConfigError(
                    f"runner.losses.{i}.on = '{name}': there is no such output{did_you_mean(own, known)}; there are "
                    f"{', '.join(known)}"
                )


def _outputs(model: nn.Module) -> list[str] | None:
    """-> names of a model's outputs in evaluation; None where it does not run without data."""
    image = torch.empty(1, model.mean.shape[1], SIDE, SIDE, device="meta")
    try:
        with torch.no_grad():
            return list(model.eval()(image))
    except (RuntimeError, NotImplementedError, ValueError):
        return None
