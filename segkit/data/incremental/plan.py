"""The plan of a class-incremental task: which classes each step learns, and what a label means in each step."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from segkit.data.dataset import Dataset
from segkit.data.incremental.orders import ALIASES, TASKS, Steps
from segkit.registry import ConfigError, did_you_mean
from segkit.types import IGNORE, default_palette

BACKGROUND = "background"
PARTS = ("train", "val", "test")
SETTINGS = ("disjoint", "overlapped", "sequential", "balanced")
MOST_CLASSES = 255


@dataclass(frozen=True)
class Convention:
    """What labels mean to a published code base, and how it scores.

    Attributes:
        keeps_void: whether ignored pixels stay ignored in training, and class number 0 is a class without a background
            of the data set's own as well. False: they are background in training.
        ignores_unseen: whether pixels of classes not learned yet are ignored in testing; False: they are background.
        by_setting: whether test images are left out by the setting as training images are, and validation is as test.
        all_images: whether every image is a test image; False: those that show a class seen so far.
        absent: what a class without a true pixel is to a mean, "skip" or "zero".
        crop: side of the centre that is cut out of test images and labels, whose shorter side is resized to it; 0 for
            none.
        unlabelled: convention of the labels of a data set without a background of its own; "" for this one.
    """

    keeps_void: bool
    ignores_unseen: bool
    by_setting: bool = False
    all_images: bool = False
    absent: str = "skip"
    crop: int = 0
    unlabelled: str = ""


CONVENTIONS: dict[str, Convention] = {
    "official": Convention(keeps_void=False, ignores_unseen=True),
    "csseg": Convention(keeps_void=True, ignores_unseen=False, by_setting=True),
    "ssul": Convention(keeps_void=True, ignores_unseen=True, all_images=True, absent="zero"),
    "dkd": Convention(keeps_void=True, ignores_unseen=False, absent="zero", unlabelled="official"),
    "cropped": Convention(keeps_void=False, ignores_unseen=True, crop=512),
}
"""Conventions by name; "cropped" is "official" as its code scores by default."""


@dataclass(frozen=True)
class ClassPlan:
    """The classes of a data set, ordered by the step that learns them.

    Classes have numbers: 0 is the background, the data set's other classes follow from 1 on in their order.

    Args:
        names: names of all classes by number, the background's first.
        steps: numbers of the classes that each step learns, without the background, which belongs to step 0.
        palette: colors by number.
        background: index of the background in the data set. None: the data set has no background; number 0 is what it
            ignores, and its class k has number k + 1.
    """

    names: tuple[str, ...]
    steps: Steps
    palette: tuple[tuple[int, int, int], ...]
    background: int | None = 0

    def order(self, step: int) -> tuple[int, ...]:
        """Class numbers of the model's outputs in this step: 0 and the classes of all steps so far."""
        return (0, *(number for classes in self.steps[: step + 1] for number in classes))

    def sizes(self, step: int) -> tuple[int, ...]:
        """Number of outputs that each step so far adds; step 0 counts the background."""
        return tuple(len(classes) + (i == 0) for i, classes in enumerate(self.steps[: step + 1]))

    def old(self, step: int) -> tuple[int, ...]:
        """Numbers of the classes learned before this step, without the background."""
        return tuple(number for classes in self.steps[:step] for number in classes)

    def later(self, step: int) -> tuple[int, ...]:
        """Numbers of the classes that this step does not know yet."""
        return tuple(number for classes in self.steps[step + 1 :] for number in classes)

    def classes(self, step: int) -> tuple[str, ...]:
        """Names of the model's outputs in this step."""
        return tuple(self.names[number] for number in self.order(step))

    def colors(self, step: int) -> tuple[tuple[int, int, int], ...]:
        """Colors of the model's outputs in this step."""
        return tuple(self.palette[number] for number in self.order(step))

    def numbers(self) -> np.ndarray:
        """Class number of each label of the data set.

        Returns:
            uint8 [256]: 255 for ignored labels, or 0 where the data set has no background of its own.
        """
        table = np.full(256, IGNORE, np.uint8)
        count = len(self.names)
        if self.background is None:
            table[: count - 1] = np.arange(1, count)
            table[IGNORE] = 0
            return table
        others = [index for index in range(count) if index != self.background]
        table[self.background] = 0
        table[others] = np.arange(1, count)
        return table


def make_plan(
    dataset: Dataset,
    task: str | None = None,
    *,
    steps: Sequence[Sequence[int | str]] | None = None,
    background: str | int | None = BACKGROUND,
    order_seed: int | None = None,
) -> ClassPlan:
    """Makes the plan of a task on a data set.

    Numbers count the background as 0 and then the data set's other classes from 1 on, as the published label files do.

    Args:
        dataset: gives classes and palette.
        task: name of a published task, see `orders.TASKS`; either this or steps.
        steps: lists of class names or numbers, one list per step. Step 0 may name the background.
        background: name or index of the data set's background. None, or the default where no class has that name, adds
            a class "background" before the data set's own.
        order_seed: shuffles the classes over steps of the same sizes, sorted within each step, as the published code
            drew its orders b and c (without a seed there).

    Raises:
        ConfigError: the task is unknown, or a class is in two steps, in none or outside the data set.
    """
    index = _background_index(dataset.classes, background)
    others = [other for other in range(len(dataset.classes)) if other != index]
    names = (BACKGROUND if index is None else dataset.classes[index], *(dataset.classes[other] for other in others))
    if len(names) > MOST_CLASSES:
        raise ConfigError(f"ClassSteps: {len(names)} classes with the background; labels of one byte hold at most 255")
    palette = dataset.palette or default_palette(len(dataset.classes))
    colors = ((0, 0, 0) if index is None else palette[index], *(palette[other] for other in others))
    listed: Sequence[Sequence[int | str]]
    if task is not None and steps is None:
        listed, at = _steps_of(task), f"task '{task}'"
    elif task is None and steps is not None:
        listed, at = steps, "steps"
    else:
        raise ConfigError("ClassSteps: give either task, the name of a published task, or steps, lists of classes")
    chosen = _checked(_as_numbers(listed, names, at), names, at)
    return ClassPlan(names, chosen if order_seed is None else shuffled(chosen, order_seed), tuple(colors), index)


def shuffled(steps: Steps, seed: int) -> Steps:
    """Shuffles the classes over steps of the same sizes; classes are sorted within each step."""
    drawn = np.random.default_rng(seed).permutation([number for classes in steps for number in classes])
    ends = np.cumsum([len(classes) for classes in steps])
    return tuple(tuple(sorted(classes.tolist())) for classes in np.split(drawn, ends[:-1]))


def remap_table(
    plan: ClassPlan, step: int, *, part: str = "train", setting: str = "disjoint", convention: str = "official"
) -> np.ndarray:
    """Look-up table from class numbers to the labels of one step.

    Args:
        plan: the task.
        step: number of the step.
        part: "train", "val" (the step's own classes alone) or "test" (all classes seen so far).
        setting: "sequential" keeps the labels of old classes; the other settings agree here.
        convention: "official" (fcdl94/MiB): in training every label but the step's own, 255 too, is background; in
            validation labels but the step's own, and in testing unseen ones, are ignored, and so is number 0 where the
            data set has no background of its own. "csseg" (cssegmentation): 255 stays 255, everything else but the
            step's own labels (in validation and testing: the seen ones) is background, and number 0 is always a class.
            "ssul" (clovaai/SSUL): in training and validation as "csseg", but validation knows the step's own classes
            alone; in testing everything unseen is ignored. "dkd" (DKD, STAR): as "csseg", but validation knows the
            step's own classes alone; as "official" where the data set has no background of its own. "cropped": as
            "official".

    Returns:
        uint8 [256]: for each class number, and 255 for ignored pixels, the rank among the model's outputs, or 255.
    """
    shown, rule = plan.steps[step], CONVENTIONS[convention]
    if plan.background is None and rule.unlabelled:
        rule = CONVENTIONS[rule.unlabelled]
    if setting == "sequential" or part == "test" or (rule.by_setting and part == "val"):
        shown = plan.old(step) + shown
    is_ignored = rule.ignores_unseen and (part == "test" or (part == "val" and not rule.keeps_void))
    table = np.full(256, IGNORE if is_ignored else 0, np.uint8)
    rank = {number: i for i, number in enumerate(plan.order(step))}
    table[list(shown)] = [rank[number] for number in shown]
    if plan.background is not None or rule.keeps_void:
        table[0] = 0
    if rule.keeps_void:
        table[IGNORE] = IGNORE
    return table


def label_table(
    plan: ClassPlan, step: int, *, part: str = "train", setting: str = "disjoint", convention: str = "official"
) -> np.ndarray:
    """Look-up table from the data set's labels to the labels of one step.

    Args:
        plan: the task.
        step: number of the step.
        part: see `remap_table`.
        setting: see `remap_table`.
        convention: see `remap_table`.

    Returns:
        uint8 [256]: for each label of the data set (0..K-1 or 255) the rank among the model's outputs, or 255.
    """
    return remap_table(plan, step, part=part, setting=setting, convention=convention)[plan.numbers()]


def check_choice(value: str, known: Sequence[str], name: str) -> str:
    """Checks an argument of ClassSteps.

    Args:
        value: of the argument.
        known: values that it may have.
        name: of the argument, for the error message.

    Returns:
        The value.

    Raises:
        ConfigError: the value is not one of the known ones.
    """
    if value not in known:
        hint = did_you_mean(value, known)
        raise ConfigError(f"ClassSteps.{name} = {value!r}: must be one of {', '.join(known)}{hint}")
    return value


def _steps_of(task: str) -> Steps:
    name = ALIASES.get(task, task)
    if name not in TASKS:
        known = [*TASKS, *ALIASES]
        hint = did_you_mean(task, known) or f"; available: {', '.join(sorted(known))}"
        raise ConfigError(f"ClassSteps.task = '{task}': no such task{hint}")
    return TASKS[name]


def _background_index(classes: Sequence[str], background: str | int | None) -> int | None:
    if background is None or (background == BACKGROUND and BACKGROUND not in classes):
        return None
    if isinstance(background, int) and 0 <= background < len(classes):
        return background
    if isinstance(background, str) and background in classes:
        return list(classes).index(background)
    hint = did_you_mean(str(background), classes) or f"; available: {', '.join(classes)}"
    raise ConfigError(f"ClassSteps.background = {background!r}: no such class of the data set{hint}")


def _as_numbers(steps: Sequence[Sequence[int | str]], names: Sequence[str], at: str) -> Steps:
    """Turns names into numbers and leaves the background out of step 0."""
    numbered = []
    for step, classes in enumerate(steps):
        if isinstance(classes, str | int):
            raise ConfigError(f"ClassSteps: {at}: step {step} is {classes!r}; each step is a list of classes")
        numbers = []
        for name in classes:
            if isinstance(name, str) and name in names:
                numbers.append(names.index(name))
            elif isinstance(name, int) and 0 <= name < len(names):
                numbers.append(name)
            else:
                counted = f"; numbers count {_listed(range(len(names)), names)}"
                raise ConfigError(
                    f"ClassSteps: {at}: step {step} names class {name!r}, which the data set does not have"
                    f"{did_you_mean(str(name), names) or counted}"
                )
        numbered.append(tuple(number for number in numbers if number != 0 or step > 0))
    return tuple(numbered)


def _checked(steps: Steps, names: Sequence[str], at: str) -> Steps:
    """Returns the steps if each class but the background is in exactly one of them; otherwise ConfigError."""
    for step, classes in enumerate(steps):
        if 0 in classes:
            raise ConfigError(f"ClassSteps: {at}: step {step} names the background, which step 0 learns")
        if not classes:
            raise ConfigError(f"ClassSteps: {at}: step {step} learns no class")
        twice = [number for number, count in Counter(classes).items() if count > 1]
        earlier = {number: i for i in range(step) for number in steps[i]}
        for number in [*twice, *(number for number in classes if number in earlier)]:
            where = f"steps {earlier[number]} and {step}" if number in earlier else f"step {step} twice"
            raise ConfigError(f"ClassSteps: {at}: class {number} ({names[number]}) is in {where}")
    named = {number for classes in steps for number in classes}
    missing = [number for number in range(1, len(names)) if number not in named]
    if missing:
        counted = "" if len(names) > 40 else f"; numbers count {_listed(range(len(names)), names)}"
        raise ConfigError(f"ClassSteps: {at}: {_listed(missing, names)}: in no step{counted}")
    return steps


def _listed(numbers: Sequence[int], names: Sequence[str], most: int = 30) -> str:
    text = ", ".join(f"{number} {names[number]}" for number in numbers[:most])
    return text + (f" and {len(numbers) - most} more" if len(numbers) > most else "")
