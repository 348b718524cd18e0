"""What a time holds: the batch, the steps, and how often the validation set is scored."""

import math
from dataclasses import dataclass

from segkit.recipe.bases import Recipe
from segkit.recipe.choice import Choice, Measured
from segkit.recipe.facts import DataFacts
from segkit.recipe.machine import Budget
from segkit.registry import ConfigError

LEAST_STEPS, FEW_STEPS = 30, 150
"""Steps below which a training teaches nothing, and below which smaller batches give more of them."""

START_SECONDS = 12.0
"""Of a training before its first step: imports, the check of the data, the model, the workers."""

SCORING = 0.15
"""Share of the time that scoring on the way may take."""

TIMES = {0.0: 3, 3600.0: 10}
"""Seconds of a training from which on the validation set is scored so many times."""

WITHOUT_BF16 = 2.7
"""Times as long as with it a step takes on a CPU without bfloat16 (FastFCN: 3.5 s and 1.3 s)."""

LEAST_STEP = 0.15
"""Seconds of a step on a CPU however small its images are: some hundred layers forward and backward."""

MOST_EPOCHS, ENOUGH_STEPS = 300, 5000
"""No training is longer than both: the time that is left is not spent on learning few images by heart."""


@dataclass(frozen=True)
class Timing:
    """What the time holds: the batch, and the keys of section loop."""

    batch: Choice
    images: int
    loop: tuple[Choice, ...]


def timing_of(
    facts: DataFacts, budget: Budget, recipe: Recipe, crop: tuple[int, int], measured: Measured | None
) -> Timing:
    machine = budget.machine
    if measured is None:
        pixels = crop[0] * crop[1] / 1e6
        cores = 1 if machine.is_gpu else min(machine.cores, 8)
        slower = 1.0 if machine.has_bf16 or machine.is_gpu else WITHOUT_BF16
        per_image = slower * recipe.seconds_per_megapixel * pixels / cores
        step = max(per_image * recipe.batch, 0.0 if machine.is_gpu else LEAST_STEP)
        batch, score = recipe.batch, per_image / 2
        how, why = "estimated, not tried", "as in the runs that the recipe comes from; not tried"
    else:
        batch, step, score = measured.batch, measured.step_seconds, measured.image_seconds
        how, why = "measured", measured.why_batch
    scored = facts.images.get("val", 0)
    steps, times = steps_for(budget.seconds, step, score * scored)
    if steps < FEW_STEPS and batch > 4 and not machine.is_gpu:
        batch, step = batch // 2, step / 2
        steps, times = steps_for(budget.seconds, step, score * scored)
        why = "half as many as usual, for more steps in so short a time"
    if steps < LEAST_STEPS:
        need = math.ceil((LEAST_STEPS * step + START_SECONDS + score * scored) / 0.95 / 60)
        raise ConfigError(
            f"--budget {budget.words}: holds {max(steps, 0)} steps of {step:.2g} s here ({how}), and fewer than "
            f"{LEAST_STEPS} teach nothing; give --budget {need}m or more"
        )
    most = max(ENOUGH_STEPS, MOST_EPOCHS * facts.images["train"] // batch)
    epochs = min(steps, most) * batch / facts.images["train"]
    reason = f"{budget.words} in steps of {step:.2g} s ({how}), {epochs:.3g} epochs"
    if steps > most:
        reason = f"{epochs:.3g} epochs; {budget.words} would hold {steps}, which learns so few images by heart"
        steps = most
    loop = [Choice("loop.steps", steps, reason)]
    if scored:
        every = 0 if times == 1 else math.ceil(steps / times)
        reason = f"{times} validations take {_percent(times * score * scored / budget.seconds)} of the time"
        loop.append(Choice("loop.eval_every", every, reason if times > 1 else "scored at the end: it takes long"))
    return Timing(Choice("train.batch_size", batch, why), batch, tuple(loop))


def steps_for(seconds: float, step: float, scoring: float) -> tuple[int, int]:
    """Returns how many steps a time holds, and how often the validation set is scored.

    Args:
        seconds: of the whole training.
        step: seconds of a step.
        scoring: seconds of scoring the validation set once.
    """
    most = max(count for start, count in TIMES.items() if seconds >= start)
    times = next((count for count in (most, 3) if count * scoring <= SCORING * seconds), 1)
    left = 0.95 * seconds - START_SECONDS - times * scoring
    steps = int(left / step)
    return (steps // 10 * 10 if steps > 100 else steps), times


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %"
