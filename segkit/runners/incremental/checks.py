"""Checks before training that every later class step can be built, can grow, and finds the outputs its losses name."""

import inspect
from collections.abc import Callable, Sequence
from typing import cast

import torch

from segkit.config import SECTIONS
from segkit.criterion import complete_row
from segkit.data.incremental.plan import ClassPlan
from segkit.models.growing_segmentor import GrowingSegmentor
from segkit.models.segmentor import Segmentor
from segkit.models.two_branches import TwoBranches
from segkit.registry import ConfigError, build_model, did_you_mean, without_start_weights
from segkit.runners.incremental.embedding_cache import check_cached
from segkit.runners.incremental.feature_replay import check_outputs
from segkit.runners.incremental.frozen import train_only
from segkit.runners.incremental.regularisers import REGULARISERS
from segkit.runners.incremental.steps import grow_to, model_section
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


def check_recipe(cfg: dict, *, init: str, has_penalty: bool, fuses: bool) -> None:
    """Checks settings of a run that do not go together.

    Args:
        cfg: the config.
        init: runner.init.
        has_penalty: whether there is a regulariser.
        fuses: whether the weights are fused at the end of each step.

    Raises:
        ConfigError: some do not.
    """
    readout = cfg["model"].get("readout", "classes")
    if init == "balanced" and readout != "classes":
        raise ConfigError(
            f"runner.init = 'balanced': shares the probability of output 0, the background, and model.readout = "
            f"'{readout}' has no such output; set runner.init to 'random', 'auxiliary' or 'unknown'"
        )
    if init == "reserved" and has_penalty:
        raise ConfigError(
            "runner.regulariser: penalizes what differs from the step before, and with runner.init = 'reserved' the "
            "outputs of all steps are old; remove one of them"
        )
    if fuses and cfg.get("loop", {}).get("patience"):
        raise ConfigError(
            "runner.fuse: the weights of a step are fused before its last evaluation, and loop.patience ends it after "
            "one; remove loop.patience"
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


def check_growth(
    cfg: dict,
    plan: ClassPlan,
    init: Callable[[Segmentor], None],
    rows: list[dict],
    *,
    is_reserved: bool = False,
    patterns: Sequence[str] = (),
    caches: bool = False,
    merge: str | None = None,
) -> None:
    """Grows the model, without any weights, through all steps, and looks up the outputs that the losses name.

    Args:
        cfg: the config.
        plan: the classes of all steps.
        init: initializes new outputs.
        rows: runner.losses.
        is_reserved: whether the outputs of all steps are there from the first on.
        patterns: runner.train_only.
        caches: whether later steps train on what is cached, see embedding_cache.
        merge: runner.merge.

    Raises:
        ConfigError: the classifier cannot grow or cannot be initialized so, a row names an output that the teacher
            does not have, a pattern finds no parameter, there are no branches to merge, or what is kept of old classes
            cannot be had.
    """
    with torch.device("meta"):
        section = model_section(cfg["model"], plan, 0, is_reserved=is_reserved)
        model = cast(GrowingSegmentor, build_model(without_start_weights(section)))
        outputs = _output_names(model)
        for number in range(1, len(plan.steps)):
            grow_to(model, plan, number, is_reserved=is_reserved)
            init(model)
            if patterns:
                train_only(model, patterns, number, len(plan.steps))
    if caches:
        check_cached(model, [name for i, row in enumerate(rows) for name in _names_on(row, i)])
    if merge is not None and not any(isinstance(module, TwoBranches) for module in model.modules()):
        raise ConfigError(
            f"runner.merge = '{merge}': the model has no branches to merge; take model.backbone.type = "
            "'TwoBranchABNResNet' or model.head.type = 'TwoBranchMiBDeepLabHead', or remove it"
        )
    check_outputs(model, outputs, plan, rows)
    levels = [f"features.{i}" for i in range(len(model.backbone.channels))]
    for i, row in enumerate(rows):
        for name in _names_on(row, i):
            output = name.removeprefix("teacher.")
            is_feature_map, is_of_teacher = output.startswith("features."), output != name
            available = levels if is_feature_map else outputs
            if (is_feature_map or is_of_teacher) and available is not None and output not in available:
                raise ConfigError(
                    f"runner.losses.{i}.on = '{name}': no such output{did_you_mean(output, available)}; available: "
                    f"{', '.join(available)}"
                )


def _names_on(row: dict, number: int) -> list[str]:
    """The outputs that a row of runner.losses names."""
    on = complete_row(row, f"runner.losses.{number}").get("on", ())
    return [on] if isinstance(on, str) else list(on)


def _output_names(model: Segmentor) -> list[str] | None:
    """Names of a model's outputs in evaluation mode; None where it does not run without data."""
    channels = model.mean.shape[1] + ("proposals" in model.head.needs)
    image = torch.empty(1, channels, SIDE, SIDE, device="meta")
    try:
        with torch.no_grad():
            return list(model.eval()(image))
    except (RuntimeError, NotImplementedError, ValueError):
        return None
