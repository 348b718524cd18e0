"""Checks before training that every later class step can be built, can grow, and finds the outputs its losses name."""

import inspect
from collections.abc import Callable
from typing import cast

import torch

from segkit.config import SECTIONS
from segkit.criterion import complete_row
from segkit.data.incremental.plan import ClassPlan
from segkit.models import growing_segmentor
from segkit.models.segmentor import Segmentor
from segkit.registry import ConfigError, build_model, did_you_mean, without_start_weights
from segkit.runners.incremental.regularisers import REGULARISERS
from segkit.runners.incremental.steps import model_section
from segkit.schema import check

SIDE = 128
"""Height and width in pixels of the image that the model is tried on."""

SUPPLIED = ("self", "model", "old", "saved")
"""Arguments that a regulariser gets from the runner."""


def check_penalty(section: dict | None) -> None:
    """Checks the type and the arguments of a regulariser.

    Args:
        section: runner.regulariser.

    Raises:
        ConfigError: there is no such type, or it takes no such argument.
    """
    if section is None:
        return
    name = section.get("type") if isinstance(section, dict) else section
    if name not in REGULARISERS:
        raise ConfigError(
            f"runner.regulariser.type = {name!r}: must be one of {', '.join(REGULARISERS)}"
            f"{did_you_mean(name, REGULARISERS)}"
        )
    known = [argument for argument in inspect.signature(REGULARISERS[name]).parameters if argument not in SUPPLIED]
    for argument in section:
        if argument != "type" and argument not in known:
            raise ConfigError(
                f"runner.regulariser.{argument}: {name} takes no such argument{did_you_mean(argument, known)}; "
                f"available: {', '.join(known)}"
            )


def check_later(cfg: dict, overrides: dict, later: dict) -> None:
    """Checks the sections of the steps after the first.

    Args:
        cfg: the config.
        overrides: sections of a later step.
        later: runner.later.

    Raises:
        ConfigError: a name is no section, or a section cannot be built.
    """
    for name in later:
        if name not in SECTIONS:
            raise ConfigError(f"runner.later.{name}: no such section{did_you_mean(name, SECTIONS)}")
    try:
        check({**cfg, **overrides})
    except ConfigError as error:
        raise ConfigError(
            f"the config of the steps after the first, with runner.later and runner.losses:\n{error}"
        ) from error


def check_growth(cfg: dict, plan: ClassPlan, init: Callable[[Segmentor], None], rows: list[dict]) -> None:
    """Grows the model, without any weights, through all steps, and looks up the outputs that the losses name.

    Args:
        cfg: the config.
        plan: the classes of all steps.
        init: initializes new outputs.
        rows: runner.losses.

    Raises:
        ConfigError: the classifier cannot grow or cannot be initialized so, or a row names an output that the teacher
            does not have.
    """
    with torch.device("meta"):
        model = cast(Segmentor, build_model(without_start_weights(model_section(cfg["model"], plan, 0))))
        outputs = _output_names(model)
        for number in range(1, len(plan.steps)):
            growing_segmentor.grow(model, len(plan.steps[number]))
            init(model)
    levels = [f"features.{i}" for i in range(len(model.backbone.channels))]
    for i, row in enumerate(rows):
        on = complete_row(row, f"runner.losses.{i}").get("on", ())
        for name in [on] if isinstance(on, str) else on:
            output = name.removeprefix("teacher.")
            is_feature_map, is_of_teacher = output.startswith("features."), output != name
            available = levels if is_feature_map else outputs
            if (is_feature_map or is_of_teacher) and available is not None and output not in available:
                raise ConfigError(
                    f"runner.losses.{i}.on = '{name}': no such output{did_you_mean(output, available)}; available: "
                    f"{', '.join(available)}"
                )


def _output_names(model: Segmentor) -> list[str] | None:
    """Names of a model's outputs in evaluation mode; None where it does not run without data."""
    image = torch.empty(1, model.mean.shape[1], SIDE, SIDE, device="meta")
    try:
        with torch.no_grad():
            return list(model.eval()(image))
    except (RuntimeError, NotImplementedError, ValueError):
        return None
